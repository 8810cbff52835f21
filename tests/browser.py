"""A headless Chromium for tests of pages, driven through chromedriver by plain HTTP."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Browser:
    """One window.

    Parameters
    ----------
    root : str
        Address of the driver.
    folder : Path
        For the profile.
    dark : bool, default False
        Whether pages are told that the reader prefers dark colours.
    script : bool, default True
        Whether pages may run scripts.
    """

    def __init__(self, root: str, folder: Path, dark: bool = False, script: bool = True) -> None:
        options: dict[str, Any] = {
            "binary": CHROMIUM,
            "args": [*_FLAGS, f"--user-data-dir={folder}"],
            "perfLoggingPrefs": {"enableNetwork": True},
        }
        if not script:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self._session = root
        made = self._call("session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"{root}/session/{made['sessionId']}"
        if dark:
            features = [{"name": "prefers-color-scheme", "value": "dark"}]
            self._devtools("Emulation.setEmulatedMedia", {"features": features})

    def open(self, page: Path, width: int = 1280) -> None:
        """Open a file."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        self._call("url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        """Run the body of a function in the page, and return its value."""
        return self._call("execute/sync", {"script": script, "args": []})

    def errors(self) -> list[str]:
        """Return what the console has been told."""
        return [entry["message"] for entry in self._call("se/log", {"type": "browser"})]

    def requests(self, page: Path) -> list[str]:
        """Return the addresses that a page, once it was open, and its opening have asked for."""
        found = []
        for entry in self._call("se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            asked = message["method"] == "Network.requestWillBeSent"
            if asked and message["params"]["documentURL"] == page.as_uri():
                found.append(message["params"]["request"]["url"])
        return found

    def close(self) -> None:
        """Close the window."""
        self._call("", None, "DELETE")

    def _devtools(self, command: str, parameters: dict[str, Any]) -> None:
        self._call("goog/cdp/execute", {"cmd": command, "params": parameters})

    def _call(self, path: str, body: Any, method: str = "POST") -> Any:
        address = f"{self._session}/{path}".rstrip("/")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]


@contextmanager
def driver() -> Iterator[str]:
    """Run chromedriver for the ``with`` block, and yield its address."""
    assert DRIVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    root = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            with suppress(OSError):
                urllib.request.urlopen(f"{root}/status", timeout=5).close()
                break
            time.sleep(0.1)
        yield root
    finally:
        process.terminate()
        process.wait()
