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

# What all models are run for has these as well; here they say what they were told to.
APART = {
    "two_stage": [
        {"hv_sees_flush": trapped, "unmaps": 1234, "hardware_stale_reads": 0,
         "emulated_stale_reads": 0 if trapped else 1233, "unmap_us": 1.5}
        for trapped in (False, True)],
    "locked_bus": [
        {"locked": locked, "frames": 100, "private_bytes": 2222,
         "read_bytes": 0 if locked else 1111, "faults": 33 if locked else 0, "opened": not locked}
        for locked in (False, True)]}
TABLES = {
    "A two-stage IOMMU": [["unseen", "1234", "0", "1233", "1.5"],
                          ["trapped", "1234", "0", "0", "1.5"]],
    "A window enforced by the bus": [["none", "100", "2222", "1111", "0", "yes"],
                                     ["locked", "100", "2222", "0", "33", "no"]]}

# Reads the rows of each table behind a heading as a person sees them: nothing of what is hidden.
READ_TABLES = """
<script type="application/json" id="measured"></script>
<script>
const all = {};
for (const table of document.querySelectorAll("h2 + .wide > table")) {
  const rows = [...table.rows].filter((row) => row.getBoundingClientRect().height > 0);
  all[table.parentElement.previousElementSibling.innerText] =
      rows.map((row) => [...row.cells].map((cell) => cell.innerText));
}
document.getElementById("measured").textContent = JSON.stringify(all);
</script>
</body>"""

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
        done = harness.airlock("compare", "--models", ",".join(MODELS), "--time", "200ms", "--json",
                               timeout=LIMIT_SECONDS)
        saved, made = cls.directory / "saved.json", cls.directory / "made.html"
        saved.write_text(json.dumps(json.loads(done.stdout) | {"apart": APART}))
        harness.airlock("compare", "--from", saved, "--html", made)
        cls.page = made.read_text()
        harness.airlock("compare", "--workload", "net", "--models", ",".join(MODELS), "--time",
                        "200ms", "--html", made, timeout=LIMIT_SECONDS)
        cls.page_of_frames = made.read_text()

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

    def measure(self, page, script=MEASURE):
        document, log = self.browse(
            POLICY.sub("", page, count=1).replace("</body>", script, 1))
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
        for page in self.page, self.page_of_frames:
            plots = self.measure(page)
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

    # SYS-8, SYS-12
    def test_what_is_measured_apart_is_there_to_read(self):
        tables = self.measure(self.page, READ_TABLES)
        for title, rows in TABLES.items():
            self.assertEqual(tables[title][1:], rows, title)
        hidden = re.sub("<tr>(?=<th>locked</th>)", '<tr style="display: none">', self.page)
        tables = self.measure(hidden, READ_TABLES)
        self.assertEqual(len(tables["A window enforced by the bus"]), 2)

    def test_nothing_is_loaded_or_run(self):
        _, log = self.browse(self.page)
        self.assertNotIn("CONSOLE", log)
        # What somebody puts in, the page itself has the browser refuse.
        document, log = self.browse(self.page.replace("</body>", MEASURE, 1))
        self.assertIn("Content Security Policy", log)
        self.assertIn('id="measured"></script>', document)


if __name__ == "__main__":
    unittest.main()
