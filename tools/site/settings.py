"""What Zensical is told of the site: its parts, in order, and their names in both languages."""

from __future__ import annotations

from typing import Any

NAV: list[Any] = [
    "index.md",
    "start.md",
    {
        "Course": [
            "course/tensors.md", "course/operators.md", "course/gradients.md", "course/networks.md", "course/training.md",
            "course/saving.md", "course/devices.md",
        ]
    },
    {
        "Tutorials": [
            "tutorials/images.md", "tutorials/characters.md", "tutorials/qat.md", "tutorials/onnx.md", "tutorials/parallel.md",
            "tutorials/slowest.md", "inside/examples.md",
        ]
    },
    {"Coming from": ["from_megengine.md", "from_pytorch.md", "pytorch_names.md", "inside/compatibility.md"]},
    "performance.md",
    {
        "Inside": [
            "inside/index.md", "inside/runtime.md", "inside/compiler.md", "inside/kernels.md", "inside/around.md",
            "inside/distributed.md", "inside/scaling.md", "inside/dump_format.md", "inside/traced_module.md",
        ]
    },
]  # fmt: skip
# Pages of the repository that the site has too; NAME.zh.md beside NAME.md is the Chinese one.
INSIDE = {
    "src/tengen/examples/README.md": "inside/examples.md",
    "docs/architecture/README.md": "inside/index.md",
    **{f"docs/architecture/{name}.md": f"inside/{name}.md" for name in "runtime compiler kernels around".split()},
    **{
        f"docs/{name}.md": f"inside/{name}.md"
        for name in "distributed scaling dump_format traced_module compatibility".split()
    },
}
WORDS = {
    "en": {"description": "A deep-learning framework with MegEngine's API, compiled from Python"},
    "zh": {
        "description": "接口与 MegEngine 相同、从 Python 即时编译的深度学习框架",
        "Course": "入门课程",
        "Tutorials": "实例教程",
        "Coming from": "迁移",
        "Inside": "内部原理",
        "API": "API 参考",
    },
}
ALTERNATES = [{"name": "English", "link": "@en@", "lang": "en"}, {"name": "中文", "link": "@zh@", "lang": "zh"}]
FEATURES = """navigation.tabs navigation.top navigation.indexes navigation.footer navigation.sections toc.follow
content.code.copy search.highlight""".split()


def config(language: str, reference_pages: list[str]) -> dict[str, Any]:
    """The contents of mkdocs.yml; `@en@` and `@zh@` become links when all pages are there."""
    words = WORDS[language]
    nav = [*NAV, {"API": [f"reference/{name}" for name in reference_pages]}]
    light, dark = (
        {"light": "浅色", "dark": "深色"} if language == "zh" else {"light": "light", "dark": "dark"}
    ).values()
    return {
        "site_name": "tengen",
        "site_description": words["description"],
        "docs_dir": "pages",
        "site_dir": "site",
        "use_directory_urls": False,
        "theme": {
            "language": language,
            "font": False,
            "features": FEATURES,
            "palette": [
                {
                    "media": "(prefers-color-scheme: light)",
                    "scheme": "default",
                    "toggle": {"icon": "lucide/sun", "name": dark},
                },
                {
                    "media": "(prefers-color-scheme: dark)",
                    "scheme": "slate",
                    "toggle": {"icon": "lucide/moon", "name": light},
                },
            ],
        },
        "extra": {"generator": False, "alternate": ALTERNATES},
        "extra_css": ["assets/site.css"],
        "plugins": ["search", "offline"],
        "markdown_extensions": [
            "admonition",
            "attr_list",
            "md_in_html",
            "tables",
            {"toc": {"permalink": True, "toc_depth": 3}},
            {"pymdownx.arithmatex": {"generic": True}},
            "pymdownx.details",
            "pymdownx.highlight",
            "pymdownx.inlinehilite",
            "pymdownx.superfences",
        ],
        "nav": translated(nav, words),
    }


def translated(nav: list[Any], words: dict[str, str]) -> list[Any]:
    """The navigation with the names of its sections in a language."""
    return [
        {words.get(name, name): inner for name, inner in item.items()} if isinstance(item, dict) else item
        for item in nav
    ]


def listed() -> set[str]:
    """The pages that stand in docs/site, by the navigation."""
    flat = [page for item in NAV for page in (next(iter(item.values())) if isinstance(item, dict) else [item])]
    return {page for page in flat if not page.startswith("inside/") and page != "pytorch_names.md"}
