"""A folder is published whole or not at all, whatever happens in between."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from export import publishing
from export.errors import ExportError, RequestError


def write_export(target, text):
    """Publish a folder with one file, as an export does."""
    with publishing.staging(target, waiting=lambda _: None) as folder:
        (folder / "model.txt").write_text(text)
        (folder / "manifest.json").write_text(json.dumps({"files": ["model.txt"]}))
        publishing.publish(folder, target)


def left_over(target):
    """What lies beside the target."""
    return sorted(p.name for p in target.parent.iterdir() if p != target)


def test_publish_and_replace(tmp_path):
    target = tmp_path / "out" / "net"
    write_export(target, "old")
    write_export(target, "new")
    assert (target / "model.txt").read_text() == "new"
    assert left_over(target) == []


def test_replace_without_an_atomic_exchange(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "_exchange", lambda *_: False)
    target = tmp_path / "net"
    write_export(target, "old")
    write_export(target, "new")
    assert (target / "model.txt").read_text() == "new"
    assert left_over(target) == []


def test_a_failure_leaves_the_old_folder(tmp_path):
    target = tmp_path / "net"
    write_export(target, "old")
    with pytest.raises(ZeroDivisionError), publishing.staging(target, waiting=lambda _: None) as folder:
        (folder / "model.txt").write_text("half")
        raise ZeroDivisionError
    assert (target / "model.txt").read_text() == "old"
    assert left_over(target) == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from export import publishing
from tests.export.test_publishing import write_export
{plant}
write_export(Path({target!r}), "new")
"""


@pytest.mark.parametrize(
    ("plant", "text"),
    [
        ("publishing.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)", "old"),
        ("publishing._exchange = lambda *_: os.kill(os.getpid(), signal.SIGKILL)", "old"),
        ("publishing.shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)", "new"),
        # a system without exchange, killed while no folder has the name: the next run puts the old one back
        (
            "publishing._exchange = lambda *_: False\n"
            "rename = os.rename\n"
            "def once(*names):\n"
            "    rename(*names)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "publishing.os.rename = once",
            None,
        ),
    ],
    ids=["before", "at", "after", "between"],
)
def test_a_killed_run_leaves_the_old_folder_or_the_new_one(tmp_path, plant, text):
    target = tmp_path / "net"
    write_export(target, "old")
    code = KILLED.format(paths=sys.path, plant=plant, target=str(target))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    if text is None:
        assert not target.exists()
        with publishing.staging(target, waiting=lambda _: None):
            assert (target / "model.txt").read_text() == "old"
    else:
        assert (target / "model.txt").read_text() == text
    write_export(target, "next")
    assert (target / "model.txt").read_text() == "next"
    assert left_over(target) == []


def test_nothing_is_left_of_an_export_that_fails(tmp_path):
    target = tmp_path / "new" / "folders" / "net"
    with pytest.raises(ZeroDivisionError), publishing.staging(target, waiting=lambda _: None):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_waits_for_the_first(tmp_path):
    target = tmp_path / "net"
    entered, said = threading.Event(), []

    def first():
        with publishing.staging(target, waiting=said.append) as folder:
            entered.set()
            (folder / "manifest.json").write_text('{"files": []}')
            time.sleep(0.5)
            assert len(list(target.parent.glob(".net.partial-*"))) == 1
            publishing.publish(folder, target)

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait()
    write_export(target, "second")
    thread.join()
    assert left_over(target) == []
    assert len(said) == 0
    assert (target / "model.txt").read_text() == "second"


def test_a_second_process_says_that_it_waits(tmp_path):
    target = tmp_path / "net"
    code = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path[:0] = {sys.path!r}
        from export import publishing
        with publishing.staging(Path({str(target)!r}), waiting=lambda text: print(text, flush=True)):
            print("in", flush=True)
    """)
    with publishing.staging(target, waiting=lambda _: None):
        second = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert "waiting for it to end" in second.stdout.readline()
    assert second.communicate()[0] == "in\n"
    assert second.returncode == 0


@pytest.mark.parametrize("name", ["mine.txt", "saved_model/2/saved_model.pb"])
def test_foreign_files_are_never_replaced(tmp_path, name):
    target = tmp_path / "net"
    write_export(target, "old")
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    (target / name).write_text("precious")
    with pytest.raises(RequestError, match=name):
        write_export(target, "new")
    assert (target / name).read_text() == "precious"


def test_an_export_takes_no_other_into_it(tmp_path):
    write_export(tmp_path / "net", "old")
    with pytest.raises(RequestError, match="net is an export itself"):
        write_export(tmp_path / "net" / "other", "new")
    write_export(tmp_path / "net", "new")  # it still can be written to
    (tmp_path / "manifest.json").write_text('{"name": "of a web page"}')
    write_export(tmp_path / "other", "new")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("a file")
    for target in (tmp_path / "out", tmp_path / "out" / "net"):
        with pytest.raises(RequestError, match="is a file"):
            publishing.check_target(target)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RequestError, match="not writable"):
        publishing.check_target(tmp_path / "net")


def test_too_little_space_is_seen_before_the_work(tmp_path):
    with pytest.raises(ExportError, match="MB free"):
        publishing.check_space(tmp_path / "new" / "net", 10**18)


def test_errors_that_mean_a_full_disk():
    assert publishing.disk_full(OSError(errno.ENOSPC, "No space left on device"))
    assert publishing.disk_full(RuntimeError("ResourceExhaustedError: /x; No space left on device"))
    assert not publishing.disk_full(OSError(errno.EACCES, "Permission denied"))
