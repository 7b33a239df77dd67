"""The edges of every command: how it ends, by itself, by a mistake, by a signal, without a reader.

    0    done
    1    the reader of its output has left (`| head`), or another process of it, or memory is full
    2    something is wrong with what it was given, or with a file: one line says what and where
    130  Ctrl-C; 143 SIGTERM, 129 SIGHUP: what was trained so far is kept
"""

import argparse
import difflib
import os
import re
import signal
import sys


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, as all others are told, with the flag that may be meant.

    A flag is what it is, not what begins like it: --seed 1 would be one seed, and not seed 1.
    """

    def __init__(self, *args, **more):
        super().__init__(*args, allow_abbrev=False, **more)

    def error(self, message):
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        near = difflib.get_close_matches(unknown[1] if unknown else "", self._option_string_actions)
        raise ValueError(message + (f"; did you mean {near[0]}?" if near else
                                    "; --help tells what there is"))


class Unbroken:
    """A standard output whose reader may leave, or whose disk may be full: the work goes on."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        try:
            self.stream.write(text)
        except OSError:
            self.stream = open(os.devnull, "w", encoding="utf-8")

    def flush(self):
        try:
            self.stream.flush()
        except OSError:
            self.stream = open(os.devnull, "w", encoding="utf-8")

    def isatty(self):
        return self.stream.isatty()


class Stopped(KeyboardInterrupt):
    """By another signal than Ctrl-C's, its number."""


def stop(number, _):
    signal.signal(number, signal.SIG_DFL)  # the second time at once
    raise Stopped(number)


def run(main, program, goes_on=False):
    """Run a command; the table above says how it ends.

    goes_on: whether the work is worth doing without a reader. A character that the output cannot
    encode is a question mark there.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed from the beginning
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        getattr(sys, name).reconfigure(errors="replace")
    if goes_on:
        sys.stdout = Unbroken(sys.stdout)
    # Not of several processes, which wait for each other where Python hears no signal.
    for number in () if several() else (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup's choice stays
            signal.signal(number, stop)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        status, said = explained(error)
        print(f"{program}: {said}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # it is the output that is full
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(status)
    except KeyboardInterrupt as error:
        [number] = error.args or [signal.SIGINT]
        by = f" by {signal.Signals(number).name}" if error.args else ""
        then = ("; the same command goes on from the last state, of an evaluation or a minute"
                if goes_on else "")
        print(f"\n{program}: stopped{by}{then}", file=sys.stderr)
        sys.exit(128 + number)


def several():
    """"process 1 of 2", say, of those that torchrun has started together; "" of one alone."""
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    return f"process {rank} of {size}" if size != "1" else ""


def explained(error):
    """(exit status, one line) for an error that a user can do something about; raises others."""
    said = " ".join(str(error).split("\n"))
    if isinstance(error, ValueError):
        first = os.environ.get("RANK", "0") == "0"
        return 2, ("" if first or not several() else f"{several()}: ") + said
    if isinstance(error, OSError):
        return 2, f"{error.filename or 'a file or the output'}: {error.strerror or said}"
    if isinstance(error, MemoryError) or re.search("out of memory|allocate memory", said):
        return 1, f"{said or 'out of memory'}; give fewer --tokens, or --recompute"
    if several() and re.search("connection|peer|gloo|nccl|socket", said, re.I):
        return 1, (f"{several()} stopped, as another of them ended "
                   f"({str(error).splitlines()[0]}); the same command goes on")
    raise error
