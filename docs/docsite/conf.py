# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's settings for `make site`. Links to Ansible's own pages are made from their names, without a network."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import ansible
import yaml
from docutils import nodes

project = html_title = html_short_title = "virtops.guest_agent"
extensions = ["sphinx_antsibull_ext"]
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
default_role = "any"
# It comes with Sphinx, and its pages load nothing from elsewhere.
html_theme = "alabaster"
html_theme_options = {"page_width": "75rem", "sidebar_width": "15rem", "sidebar_includehidden": False}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_copyright = html_show_sphinx = html_show_sourcelink = html_copy_source = False
html_use_index = False

ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
#: Labels of Ansible's documentation, and the pages that have them.
LABELS = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
_PLUGIN = re.compile(r"ansible_collections\.ansible\.(builtin|posix)\.(\w+)_([a-z]+)")


def of_ansible(_app: t.Any, _env: t.Any, node: t.Any, shown: t.Any) -> nodes.reference | None:
    """A link for what only Ansible's own documentation has. What does not exist there stays a warning."""
    page = _environment(node["reftarget"]) if node["reftype"] == "envvar" else _page(node["reftarget"])
    return nodes.reference("", "", shown.deepcopy(), internal=False, refuri=ANSIBLE + page) if page else None


def _page(label: str) -> str | None:
    plugin = _PLUGIN.fullmatch(label)
    if plugin is None:
        return LABELS.get(label)
    collection, name, kind = plugin.groups()
    folder = _core("modules" if kind == "module" else f"plugins/{kind}")
    known = collection != "builtin" or any((folder / f"{name}.{ending}").is_file() for ending in ("py", "yml"))
    return f"collections/ansible/{collection}/{name}_{kind}.html" if known else None


def _environment(name: str) -> str | None:
    defined = yaml.safe_load(_core("config/base.yml").read_text(encoding="utf-8"))
    known = {variable["name"] for setting in defined.values() for variable in setting.get("env", ())}
    return f"reference_appendices/config.html#envvar-{name}" if name in known else None


def _core(path: str) -> Path:
    """A file or folder of the ansible-core that is installed."""
    return Path(ansible.__file__).parent / path


def setup(app: t.Any) -> None:
    app.connect("missing-reference", of_ansible)
