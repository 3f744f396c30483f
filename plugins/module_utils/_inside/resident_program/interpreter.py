# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module in this very interpreter, as if it had just been started for it."""

import atexit
import hashlib
import locale
import os
import sys
import threading
import time
import traceback
import types
import zipimport

from .wire import MAIN

#: Names of locales in which Python takes any bytes from its standard streams.
_LENIENT = ("", "C", "POSIX", "C.UTF-8", "C.utf8", "UTF-8")


def as_started_anew(interpreter):
    """This process as a Python that begins: it is a fork of one that has run for a while."""
    atexit._clear()
    sys.argv, sys.executable = [""], interpreter
    sys.path_importer_cache.clear()
    time.tzset()
    try:
        name = locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:
        name = "C"
    if name in ("C", "POSIX"):  # as PEP 538 has it
        name = os.environ["LC_CTYPE"] = "C.UTF-8"
        locale.setlocale(locale.LC_CTYPE, name)
    lenient = "surrogateescape" if name in _LENIENT else "strict"
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors=lenient, closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", errors=lenient, closefd=False)
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    for stream, name in ((sys.stdin, "<stdin>"), (sys.stdout, "<stdout>"), (sys.stderr, "<stderr>")):
        stream.buffer.raw.name = name
    main = types.ModuleType("__main__")
    main.__dict__.clear()
    main.__dict__.update({name: {} if value == {} else value for name, value in MAIN.items()})
    sys.modules["__main__"] = main


def use_compiled(store):
    """What is imported from an archive is not compiled where the same source has been compiled before."""
    compiles = getattr(zipimport, "_compile_source", None)
    if compiles is None:
        return
    import _imp

    def look_up(path, source):
        code = store.get(hashlib.sha256(source).hexdigest())
        if code is None:
            return compiles(path, source)
        _imp._fix_co_filename(code, path)
        return code

    zipimport._compile_source = look_up


def run_as_main(text):
    """Never returns."""
    main = sys.modules["__main__"]
    status = 0
    try:
        exec(compile(text, "<stdin>", "exec", dont_inherit=True), main.__dict__)
    except SystemExit as error:
        status = 0 if error.code is None else error.code
        if not isinstance(status, int):
            sys.stderr.write("%s\n" % (status,))
            status = 1
    except BaseException:
        kind, error, trace = sys.exc_info()
        traceback.print_exception(kind, error, trace and trace.tb_next)
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            status = status or 120
    os._exit(status & 0xFF)
