# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as somebody sees it: in a browser, at the width of a phone and of a desk, with a guest that means harm."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.integration.ansible_cli import ROOT, Ansible
from tests.lab import Lab

WIDTHS = {"phone": 390, "desk": 1280}
#: What a page that takes it for HTML or a template would do something with.
HARM = """<img src=x onerror='window.harm=1'><script>window.harm=1</script>{{ 7*7 }}${7*7}"""
SCREENSHOTS = ROOT / "tests" / "output" / "report"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield chromium
        chromium.close()


def _opened(browser: Browser, path: Path, width_name: str, width: int) -> tuple[Page, list[str]]:
    """The page, without its own policy, which would hide what is not escaped; and what it asks for. A picture of it is kept."""
    page = browser.new_context(viewport={"width": width, "height": 900}, bypass_csp=True).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{width_name}.png", full_page=True)
    return page, asked


@pytest.mark.full  # the unit tests of the role read the page without a browser
def test_a_page_in_which_nothing_that_guests_say_does_anything(
    lab: Lab, ansible: Ansible, start: Callable[..., str], browser: Browser, tmp_path: Path
) -> None:
    hostile, deaf, plain = start("it-report-hostile"), start("it-report-deaf"), start("it-report-plain")
    off = start("it-report-off", persistent=True)
    lab.domain(off).destroy()
    lab.run(hostile, f"printf '%s\\n' 'ID=tiny' 'PRETTY_NAME=\"{HARM.replace(chr(39), '')} {'long' * 60}\"' >/etc/os-release")
    lab.run(hostile, "hostname '\"><b onclick=window.harm=1>x'; dd if=/dev/zero of=/data/full bs=1M 2>/dev/null")
    lab.run(deaf, "kill -STOP $(pidof qemu-ga)")
    files = {kind: tmp_path / f"report.{kind}" for kind in ("html", "md", "json")}
    options = {
        "fleet_report_uris": [lab.uri], "fleet_report_title": "Guests & <others>", "fleet_report_agent_timeout": 2,
        "fleet_report_html": str(files["html"]), "fleet_report_markdown": str(files["md"]), "fleet_report_json": str(files["json"]),
        "ansible_python_interpreter": sys.executable,
    }  # fmt: skip
    ansible.run("ansible-playbook", "virtops.guest_agent.report", "-i", "localhost,", "-c", "local", "-e", json.dumps(options))
    records = {guest["libvirt"]["name"]: guest for guest in json.loads(files["json"].read_text())["guests"]}
    assert {hostile, deaf, plain, off} <= set(records)
    said = records[hostile]["os"]["pretty_name"]
    assert "window.harm" in said
    (row,) = [line for line in files["md"].read_text().splitlines() if hostile in line]
    assert row.count("|") == 9, row
    for width_name, width in WIDTHS.items():
        page, asked = _opened(browser, files["html"], width_name, width)
        cells = page.locator("tr", has_text=hostile)
        assert said in " ".join(cells.inner_text().split())
        assert '"><b onclick=window.harm=1>x' in cells.inner_text()
        for element in cells.locator("*").all():
            element.dispatch_event("click")
        assert page.evaluate("window.harm") is None
        assert asked == [files["html"].as_uri()], "the page needs nothing but itself"
        assert page.title() == "Guests & <others>"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert cells.locator(".bar.full").count() == 1
        # No guest's words make the others' narrow.
        assert page.locator(".bar i").first.bounding_box()["width"] > 20
        assert page.locator("tr", has_text=deaf).locator(".badge").inner_text() == "unresponsive"
        assert page.locator("tr", has_text=plain).locator(".badge").inner_text() == "connected"
        page.context.close()
