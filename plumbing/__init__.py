"""What no paper mentions: files, downloads, flags, reports, and how a step is carried out."""
