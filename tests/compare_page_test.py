# SPDX-License-Identifier: Apache-2.0
"""The page of `airlock compare --html` in a real browser: every plot has ink, and a plot without
any is noticed.

Needs Debian's chromium-headless-shell, or chromium: tools/install-deps page."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import harness

LIMIT_SECONDS = 600
BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")
PLOTS = ["throughput", "latency", "in-sight", "copies", "messages", "cpu", "pool", "trusted"]
MODELS = ["region", "share", "open"]
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n')

# Draws each plot by itself, counts the coloured pixels in the box of each of its marks (lines and
# text are grey), and says where the plot stands on the page. Images hold up the load event, for
# which the browser waits before it prints the document.
MEASURE = """
<script type="application/json" id="measured"></script>
<script>
const all = {};
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector("svg");
  const place = svg.getBoundingClientRect(), box = svg.viewBox.baseVal;
  const marks = [...svg.querySelectorAll(".mark")].map((mark) => mark.getBBox());
  const copy = svg.cloneNode(true);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", box.width);
  copy.setAttribute("height", box.height);
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = box.width;
    canvas.height = box.height;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const ink = ({x, y, width, height}) => {
      const left = Math.floor(x), top = Math.floor(y);
      const right = Math.ceil(x + width), bottom = Math.ceil(y + height);
      if (!(right > left && bottom > top)) return 0;
      const pixels = context.getImageData(left, top, right - left, bottom - top).data;
      let coloured = 0;
      for (let i = 0; i < pixels.length; i += 4) {
        const [red, green, blue] = pixels.subarray(i, i + 3);
        if (Math.max(red, green, blue) - Math.min(red, green, blue) > 40) ++coloured;
      }
      return coloured;
    };
    all[figure.id] = {
      width: place.width, height: place.height,
      panels: svg.querySelectorAll(".panel").length, marks: marks.map(ink)};
    document.getElementById("measured").textContent = JSON.stringify(all);
  };
  image.src = "data:image/svg+xml;charset=utf-8," +
      encodeURIComponent(new XMLSerializer().serializeToString(copy));
}
</script>
</body>"""


def faint(plots):
    """Those of the plots that a reader would see nothing in, or not all that there is to see."""
    return [name for name in PLOTS
            if name not in plots or plots[name]["width"] < 300 or plots[name]["height"] < 80 or
            plots[name]["panels"] == 0 or len(plots[name]["marks"]) < len(MODELS) or
            not all(plots[name]["marks"])]


@unittest.skipUnless(BROWSER, "no browser: tools/install-deps page")
class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="airlock-page-")
        cls.addClassCleanup(temporary.cleanup)
        cls.directory = pathlib.Path(temporary.name)
        made = cls.directory / "made.html"
        harness.airlock("compare", "--models", ",".join(MODELS), "--time", "200ms", "--html", made,
                        timeout=LIMIT_SECONDS)
        cls.page = made.read_text()

    def browse(self, page):
        """The document as the browser has it in the end, and what it logged."""
        file = self.directory / f"{self.id()}.html"
        file.write_text(page)
        done = subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--enable-logging=stderr", f"--user-data-dir={self.directory / 'profile'}",
             "--window-size=1000,800", "--dump-dom", file.as_uri()],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_SECONDS,
            check=True)
        return done.stdout, done.stderr

    def measure(self, page):
        document, log = self.browse(
            POLICY.sub("", page, count=1).replace("</body>", MEASURE, 1))
        found = re.search(r'id="measured">([^<]+)</script>', document)
        self.assertTrue(found, log)
        return json.loads(found[1])

    def changed(self, plot, pattern, replacement):
        """The page with something of one of its plots replaced."""
        begin = self.page.index(f'<figure id="{plot}">')
        end = self.page.index("</figure>", begin)
        figure, count = re.subn(pattern, replacement, self.page[begin:end])
        self.assertGreater(count, 0)
        return self.page[:begin] + figure + self.page[end:]

    def test_every_plot_has_ink(self):
        plots = self.measure(self.page)
        self.assertEqual(sorted(plots), sorted(PLOTS))
        self.assertEqual(faint(plots), [], plots)

    def test_an_empty_plot_is_found(self):
        for plot, pattern, replacement in (
                ("copies", r'<rect class="mark"[^>]*>', ""),
                ("in-sight", r'(class="mark"[^>]* fill=)"[^"]*"', r'\1"#fafafa"'),
                ("cpu", r'(class="mark"[^>]* width=)"[^"]*"', r'\1"nan"'),
                ("trusted", "<svg ", '<svg style="display: none" ')):
            with self.subTest(plot=plot):
                self.assertEqual(faint(self.measure(self.changed(plot, pattern, replacement))),
                                 [plot])

    def test_nothing_is_loaded_or_run(self):
        _, log = self.browse(self.page)
        self.assertNotIn("CONSOLE", log)
        # What somebody puts in, the page itself has the browser refuse.
        document, log = self.browse(self.page.replace("</body>", MEASURE, 1))
        self.assertIn("Content Security Policy", log)
        self.assertIn('id="measured"></script>', document)


if __name__ == "__main__":
    unittest.main()
