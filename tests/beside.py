"""A second pytest process, for tests that start commands and wait for them.

No test of its own. Tests marked `beside`, those that wait for seconds, run there, in their order
and on one thread, while the others run here; what became of them is told here as if they had.
Without others, with --pdb or -s, on one core, or where another plugin shares the tests out,
everything runs here.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

TELLS = "T5_TESTS_BESIDE"  # to the second process: which pipe takes its reports


class Told:
    """In the second process: writes each report as a line."""

    def __init__(self, config, pipe):
        self.config, self.pipe = config, open(pipe, "w", encoding="utf-8")

    def pytest_runtest_logreport(self, report):
        told = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        print(json.dumps(told), file=self.pipe, flush=True)


class Beside:
    """In the first one: starts the second, and reads its reports when their turn comes."""

    def __init__(self):
        self.process, self.theirs, self.reports = None, set(), queue.Queue()
        self.said = tempfile.TemporaryFile()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: "beside" in item.keywords)  # theirs last: see the next hook

    def pytest_runtestloop(self, session):
        ids = [item.nodeid for item in session.items if "beside" in item.keywords]
        option = session.config.option
        if (not 0 < len(ids) < len(session.items) or option.collectonly or option.usepdb
                or option.capture == "no" or len(os.sched_getaffinity(0)) < 2):
            return
        reader, writer = os.pipe()
        self.theirs, self.config = set(ids), session.config
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", f"--verbosity={option.verbose}",
             f"--tb={option.tbstyle}", f"--rootdir={session.config.rootpath}", "-p",
             "no:cacheprovider", *ids],
            cwd=session.config.rootpath, stdout=self.said, stderr=self.said,
            pass_fds=[writer], env=os.environ | {TELLS: str(writer), "OMP_NUM_THREADS": "1"})
        os.close(writer)
        threading.Thread(target=self.listen, args=[reader], daemon=True).start()

    def listen(self, reader):
        with open(reader, encoding="utf-8") as lines:
            for line in lines:
                self.reports.put(json.loads(line))
        self.reports.put(None)  # there will be no more

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        if item.nodeid not in self.theirs:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self.of(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def of(self, item):
        """The reports of one test: of its setup, its call, its teardown."""
        while told := self.reports.get():
            report = self.config.hook.pytest_report_from_serializable(config=self.config, data=told)
            if report.nodeid == item.nodeid:
                if report.skipped and not hasattr(report, "wasxfail"):
                    report.longrepr = tuple(report.longrepr)  # which JSON makes a list
                yield report
                if report.when == "teardown":
                    return
        self.reports.put(None)  # for the next one, too
        status = self.process.wait()
        self.said.seek(0)
        said = self.said.read().decode(errors="replace")[-2000:]
        yield pytest.TestReport(
            item.nodeid, item.location, dict.fromkeys(item.keywords, 1), "failed",
            f"the process beside ended before it, with status {status}:\n{said}", "call")

    def pytest_sessionfinish(self):
        if self.process:
            self.process.send_signal(signal.SIGINT)  # so that it ends what it has started, too
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:  # a shell's background job hears no SIGINT
                self.process.kill()


def pytest_configure(config):
    if TELLS in os.environ:
        config.pluginmanager.register(Told(config, int(os.environ.pop(TELLS))))
    elif not getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Beside())
