# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as somebody sees it: in a browser, at the width of a phone and of a desk, with a guest that means harm."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.integration.ansible_cli import ROOT, Ansible
from tests.lab import Lab

WIDTHS = {"phone": 390, "desk": 1280}
#: What a page that takes it for HTML or a template would do something with.
HARM = """<img src=x onerror='window.harm=1'><script>window.harm=1</script>{{ 7*7 }}${7*7}"""
#: A page of which a picture of the beginning says enough.
LONG = 200_000
MANY = 500
STATUSES = {"connected": "", "unresponsive": "the agent did not answer in time", "not_running": "the domain is shutoff"}
SCREENSHOTS = ROOT / "tests" / "output" / "report"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield chromium
        chromium.close()


def _opened(browser: Browser, path: Path, name: str, width: int, **context: Any) -> tuple[Page, list[str]]:
    """The page, and what it asks for. A picture of it is kept. Its own policy would hide what is not escaped: ``bypass_csp``."""
    page = browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=len(page.content()) < LONG)
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
        page, asked = _opened(browser, files["html"], width_name, width, bypass_csp=True)
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


def _many() -> list[dict[str, Any]]:
    return [_one_of_many(number) for number in range(MANY)]


def _one_of_many(number: int) -> dict[str, Any]:
    status = (*STATUSES,)[0 if number % 10 else number // 10 % 3]
    kvm = f"kvm{number % 3}"
    # Variables of the command line are templates, as nothing that a module returns is.
    harm = HARM.replace("{{", "{ {") if number == 77 else ""
    mount = {"mount_point": f"/{harm}", "total_bytes": 10**10, "used_bytes": number * 10**10 // MANY}
    return {
        "libvirt": {"name": harm or f"guest{number}", "state": "running", "uri": f"qemu+ssh://{kvm}/system", "hypervisor": kvm},
        "agent": {"status": status, "version": "10.0.2", "reason": STATUSES[status], "hint": "look at it" * bool(STATUSES[status])},
        "os": {"pretty_name": f"Debian GNU/Linux {12 + number % 2}"},
        "interfaces": [{"ip_addresses": [f"10.0.{number // 250}.{number % 250}/24", "fe80::5054:ff:fe00:1/64"]}],
        "filesystems": [mount] if status == "connected" else [],
        "users": [{"user_name": "ann"}] * (number % 7 == 0),
    }


def _names(page: Page) -> list[str]:
    """Of the guests that are shown, in order."""
    rows: list[str] = page.evaluate(
        "[...document.querySelectorAll('tbody tr')].filter((row) => row.offsetParent).map((row) => row.dataset.name)"
    )
    return rows


@pytest.mark.full
def test_a_page_of_many_guests_is_sorted_and_filtered(ansible: Ansible, browser: Browser, tmp_path: Path) -> None:
    dest, variables = tmp_path / "many.html", tmp_path / "variables.json"
    options = {
        "title": "Many guests",
        "unreached": ["kvm9 cannot be reached: no route to host"],
        "full_percent": 90,
        "guests": _many(),
    }
    variables.write_text(json.dumps({f"fleet_report_{name}": value for name, value in options.items()}), encoding="utf-8")
    source = ROOT / "roles/fleet_report/templates/report.html.j2"
    ansible.run("ansible", "localhost", "-m", "template", "-a", f"src={source} dest={dest}", "-e", f"@{variables}")
    for scheme in ("light", "dark"):
        for name, width in WIDTHS.items():
            page, asked = _opened(browser, dest, f"many-{name}-{scheme}", width, color_scheme=scheme)
            assert asked == [dest.as_uri()]
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            _sort_and_filter(page)
            assert page.evaluate("window.harm") is None
            page.screenshot(path=SCREENSHOTS / f"filtered-{name}-{scheme}.png")
            page.context.close()
    page, _asked = _opened(browser, dest, "many-print", 800, color_scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator(".tools").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.screenshot(path=SCREENSHOTS / "print.png")
    page.context.close()


def _sort_and_filter(page: Page) -> None:
    assert len(_names(page)) == MANY
    assert _names(page)[:3] == ["guest0", "guest3", "guest6"]  # of kvm0
    page.locator("select[name=sort]").select_option("-full")
    assert _names(page)[0] == "guest498"
    page.locator("select[name=status]").select_option("unresponsive")
    assert set(_names(page)) == {f"guest{number}" for number in range(0, MANY, 10) if number // 10 % 3 == 1}
    page.locator("input[type=search]").fill("kvm1 time")
    assert all(int(name[5:]) % 3 == 1 for name in _names(page))
    assert page.locator("section:visible").count() == 1
    page.locator("input[type=search]").fill("nothing has this")
    assert _names(page) == []
    page.locator("input[type=search]").fill("")
    page.locator("select[name=status]").select_option("")
    assert len(_names(page)) == MANY
