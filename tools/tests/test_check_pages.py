import check_pages
import pytest

PAGE = '<html><a href="{link}">x</a><script src="{script}"></script></html>'


@pytest.fixture
def pages(tmp_path):
    def write(name, link="index.html", script="_static/a.js"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PAGE.format(link=link, script=script))

    write("index.html", "a.html#part")
    write("a.html", "deep/b.html")
    write("deep/b.html", "../c.html")
    write("c.html")
    return tmp_path


@pytest.mark.parametrize(
    ("target", "number"), [("index.html", 0), ("a.html", 1), ("deep/b.html", 2), ("c.html", None)]
)
def test_clicks_from_the_start_page(pages, target, number):
    assert check_pages.clicks(pages, [target]) == number


def test_a_page_that_loads_from_the_network_is_found(pages):
    assert list(check_pages.external_resources(pages)) == []
    (pages / "d.html").write_text('<script src="https://cdn.example/a.js"></script>')
    (pages / "e.css").write_text("a { src: url('//fonts.example/a.woff2') }")
    found = list(check_pages.external_resources(pages))
    assert found == [
        ("d.html", "https://cdn.example/a.js"),
        ("e.css", "//fonts.example/a.woff2"),
    ]


def test_the_first_result_is_read_from_the_browser(pages, monkeypatch):
    browser = check_pages.find_browser()
    if browser is None:
        pytest.skip("no browser is installed")
    (pages / "search.html").write_text(
        "<ul role='list' class='old'></ul><script>"
        'document.body.innerHTML = \'<ul role="list" class="search"><li><a href="c.html#x">'
        "' + location.search + '</a></li></ul>'</script>"
    )
    address = pages.as_uri()
    assert check_pages.first_result(browser, address, "two words") == "c.html"


def test_questions_without_an_answer_fail(pages, monkeypatch, capsys):
    monkeypatch.setattr(check_pages, "find_browser", lambda: None)
    monkeypatch.setattr(check_pages, "QUESTIONS", [("near", "a", ["a.html"])])
    with pytest.raises(SystemExit) as done:
        check_pages.main([str(pages)])
    assert not done.value.code
    monkeypatch.setattr(check_pages, "QUESTIONS", [("far", "c", ["c.html"])])
    with pytest.raises(SystemExit) as done:
        check_pages.main([str(pages)])
    assert done.value.code
    assert "NOT FOUND: far" in capsys.readouterr().out


def test_formulas_that_are_not_rendered_are_counted(pages):
    (pages / "formulas.html").write_text('<span class="math ">x</span><div class="math y">z</div>')
    assert check_pages.formulas(pages) == ("formulas.html", 2)
    browser = check_pages.find_browser()
    if browser is None:
        pytest.skip("no browser is installed")
    script = "document.body.innerHTML = '<mjx-container></mjx-container>'.repeat(2)"
    script += " + '<mjx-container><i data-mjx-error></i></mjx-container>'"
    (pages / "formulas.html").write_text(f"<body></body><script>{script}</script>")
    assert check_pages.rendered_formulas(browser, (pages / "formulas.html").as_uri()) == 2
