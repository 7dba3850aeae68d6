//! Whatever the data, the markup of a page is the one that its builder meant.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{Bar, BarChart, BarSeries, LineChart, Page, Picture, Scatter, Section, Series, Table, Tile};

/// A page with `text` at every place that takes any.
fn page(text: &str) -> String {
    let own = || text.to_owned();
    let mut table = Table::new(text, [text, text]);
    table.row([text, text]).note(text);
    let lines = LineChart {
        title: own(),
        x_label: own(),
        y_label: own(),
        series: vec![
            Series { name: own(), points: vec![(0.0, 1.0), (1.0, 2.0)] },
            Series { name: own(), points: vec![(0.0, 2.0), (1.0, 1.0)] },
        ],
    };
    let bar = || BarSeries { name: own(), bars: vec![Some(Bar { value: 1.0, half_width: Some(0.1) })] };
    let bars = BarChart {
        title: own(),
        y_label: own(),
        groups: vec![own()],
        series: vec![bar(), bar()],
        guide: Some((own(), 0.5)),
    };
    let scatter = Scatter {
        title: own(),
        points: vec![[0.0, 0.0], [1.0, 1.0]],
        classes: vec![0, 1],
        names: vec![own(), own()],
    };
    let picture = Picture::rgb(1, 1, &[1, 2, 3], text).unwrap();
    let curves = Picture::curves(&[&[0.0, 1.0]], (0.0, 1.0), text).unwrap();
    let section = Section::new(text)
        .verbatim(text)
        .alarm(text)
        .tiles(&[Tile { label: own(), value: own(), detail: own() }])
        .table(&table)
        .figure(&lines.draw().unwrap(), text)
        .figure(&bars.draw().unwrap(), text)
        .figure(&scatter.draw().unwrap(), text)
        .pictures(&[picture, curves], text);
    let mut page = Page::new(text);
    page.lead(text).footer(text).section(section);
    page.to_html()
}

/// The names of the tags in order, read as a browser would: no `<` means anything else.
fn tags(html: &str) -> Vec<&str> {
    let body = html.split_once("</style>").unwrap().1;
    let names = body.split('<').skip(1).map(|part| part.split([' ', '>', '/', '\n']).next().unwrap());
    names.filter(|name| !name.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn data_never_becomes_markup(
        text in prop_oneof![
            "[<>&\"' a-z/=;#\\x00-\\x1f]{1,40}",
            any::<String>().prop_filter("some text", |text| !text.is_empty()),
        ]
    ) {
        // The same page about a plain word has the same tags. A long word is drawn in as many lines of
        // the bars' group name as text with a space is, so those are set aside.
        let drawn = |html: &str| tags(html).into_iter().filter(|t| *t != "text").map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(drawn(&page(&text)), drawn(&page("x")));
    }
}

#[test]
fn a_page_fetches_and_runs_nothing() {
    let html = page("x");
    for outside in ["<script", "<link", "@import", "url(", "href=", "http://", "https://"] {
        let elsewhere = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains(outside), "{outside}");
    }
    assert!(html.contains("default-src 'none'"));
    assert_eq!(html.matches("<svg ").count(), 4);
    assert!(html.contains("role=\"img\" aria-label=\"x\""));
}

#[test]
fn everything_stands_where_it_was_put() {
    let mut made = Page::new("Floors & rooms");
    made.section(Section::new("One").text("first\n\nsecond").verbatim("a < b"));
    made.section(Section::new("Two"));
    let html = made.to_html();
    let places: Vec<usize> = [
        "<h1>Floors &amp; rooms</h1>",
        "<h2>One</h2>",
        "<p>first</p>",
        "<p>second</p>",
        "<pre>a &lt; b</pre>",
        "<h2>Two</h2>",
    ]
    .map(|piece| html.find(piece).unwrap_or_else(|| unreachable!("{piece} is missing")))
    .to_vec();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn a_page_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let made = Page::new("x");
    made.write(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), made.to_html());
    let error = made.write(&folder.path().join("absent/report.html")).unwrap_err();
    assert!(error.to_string().contains("absent"));
}
