"""Controls headless Chromium over its debugging pipe, with Python's standard library only."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import tempfile


# Records the texts on each canvas in window.drawnTexts. Every drawing begins with clearRect.
KEEP_TEXTS = """
window.drawnTexts = {};
const { fillText, clearRect } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.fillText = function (text, ...more) {
  (window.drawnTexts[this.canvas.id] ??= []).push(text);
  fillText.call(this, text, ...more);
};
CanvasRenderingContext2D.prototype.clearRect = function (...area) {
  window.drawnTexts[this.canvas.id] = [];
  clearRect.apply(this, area);
};
"""


class Browser:
    """A browser with one page. Records the page's console messages, exceptions and requests."""

    def __init__(self, program, width=1280, height=900):
        # A helper process may write to the profile for a moment after the browser has ended.
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (to_read, self.to), (self.back, back_write) = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and writes responses to descriptor 4. Both pipe ends are
        # moved first, so that neither overwrites the other.
        to_read, back_write = os.dup(to_read), os.dup(back_write)

        def hand_over():
            high = [os.dup2(end, 20 + at) for at, end in enumerate([to_read, back_write])]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe",
                f"--user-data-dir={self.profile.name}", f"--window-size={width},{height}",
            ],
            preexec_fn=hand_over, close_fds=False, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(back_write)
        self.buffer, self.number, self.errors, self.requests = b"", 0, [], []
        self.loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = None
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=KEEP_TEXTS)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if getattr(self, "session", None):
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.next()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def next(self):
        while b"\0" not in self.buffer:
            data = os.read(self.back, 1 << 16)
            assert data, "the browser has ended"
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(text)
        self.note(message.get("method"), message.get("params", {}))
        return message

    def note(self, method, parameters):
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.errors.append(str(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded = True

    def open(self, path):
        self.loaded, self.requests, self.errors = False, [], []
        self.call("Page.navigate", url=f"file://{os.path.abspath(path)}")
        while not self.loaded:
            self.next()
        self.settle()

    def run(self, script):
        """Evaluates an expression in the page, and returns its value or the value of its promise."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                           returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def settle(self):
        """Waits until pending drawings are finished."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)
        self.settle()

    def key(self, key):
        text = key if len(key) == 1 else ""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key,
                      **({"text": text} if text and kind == "keyDown" else {}))
        self.settle()

    def media(self, **features):
        features = [{"name": name.replace("_", "-"), "value": it} for name, it in features.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.settle()

    def screenshot(self, path, whole=True):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def close(self):
        """Ends the browser and all its processes, and then removes its profile."""
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            os.write(self.to, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            self.process.wait(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.profile.cleanup()
