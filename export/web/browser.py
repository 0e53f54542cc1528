"""Chromium without a window, and a web server for one folder: how the page is tried before it is published."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Numbers and files go both ways as texts in base64: playwright takes seconds for as many numbers in JSON.
_HELPERS = """
    const toBytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const toText = (numbers) => {
        const bytes = new Uint8Array(Float32Array.from(numbers).buffer), parts = [];
        for (let k = 0; k < bytes.length; k += 8192) parts.push(String.fromCharCode(...bytes.subarray(k, k + 8192)));
        return btoa(parts.join(""));
    };
"""
ARGUMENTS: tuple[str, ...] = ("--enable-unsafe-webgpu", "--enable-features=Vulkan")  # for WebGPU on Linux
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def program() -> str | None:
    """Find a Chromium on the PATH."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


@cache
def version() -> str:
    """Return the version of that Chromium; empty where there is none."""
    found = program()
    if found is None:
        return ""
    try:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+(\.\d+)+", said)
    return match.group() if match else ""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine alone, as any static host does.

    Yields:
        Its address, with a slash at the end.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    """Says nothing of requests."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def to_text(content: bytes) -> str:
    """Make the argument for a function in the page that calls `toBytes`."""
    return base64.b64encode(content).decode()


def to_numbers(text: str) -> np.ndarray:
    """Return the float32 numbers of what a function in the page made with `toText`."""
    import numpy as np

    return np.frombuffer(base64.b64decode(text), np.float32)


class Tab:
    """A page in a browser.

    Attributes:
        version: Of the browser.
        said: What the page wrote to the console, and its errors.
        asked: Addresses elsewhere that it asked for.
    """

    def __init__(self, page: Any, address: str, thread: ThreadPoolExecutor):
        self.version: str = page.context.browser.version
        self.said: list[str] = []
        self.asked: list[str] = []
        self._page, self._address, self._thread = page, address, thread
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", self._note)
        page.goto(f"{address}index.html")

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Run a JavaScript function in the page, and return what it gives; any error of it is raised here.

        Args:
            script: The function. `toBytes(text)` and `toText(numbers)` are at its hand, for `to_text` and `to_numbers`.
            argument: What it is called with.
        """
        script = f"(argument) => {{ {_HELPERS} return ({script})(argument); }}"
        return self._thread.submit(self._page.evaluate, script, argument).result()

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self._address, "data:", "blob:")):
            self.asked.append(request.url)


@contextmanager
def opened(folder: Path) -> Iterator[Tab]:
    """Serve the folder of a page, and open it in Chromium without a window.

    Raises:
        ModuleNotFoundError: playwright is not installed.
        OSError: No browser could be started.
    """
    # playwright stays in the thread that started it, and two cannot be in one.
    with serving(folder) as address, ThreadPoolExecutor(1, "browser") as thread, ExitStack() as stack:

        def start() -> Tab:
            from playwright.sync_api import Error, sync_playwright

            # Containers run as root, for whom Chromium has no sandbox.
            root = hasattr(os, "geteuid") and os.geteuid() == 0
            arguments = [*ARGUMENTS, "--no-sandbox"] if root else list(ARGUMENTS)
            playwright = stack.enter_context(sync_playwright())
            try:
                browser = playwright.chromium.launch(executable_path=program(), args=arguments)
            except Error as error:
                raise OSError(
                    "No Chromium could be started (Debian: apt-get install chromium; elsewhere: playwright install "
                    f"chromium): {str(error).splitlines()[0]}"
                ) from error
            stack.callback(browser.close)
            return Tab(browser.new_page(), address, thread)

        try:
            yield thread.submit(start).result()
        finally:
            thread.submit(stack.close).result()
