//! One page that holds everything: text, numbers, tables, figures and pictures in a single HTML file
//! without scripts, fonts or links, so that it can be mailed, archived, and opened years later. Its
//! content policy forbids the browser to fetch anything. All data is escaped on its way in; markup
//! comes only from this folder.

use std::fmt::Write as _;
use std::path::Path;

use super::escape::escape;
use super::{Picture, ReportError, Svg, Table};
use crate::files::write_atomic;

const STYLE: &str = include_str!("style.css");

/// A page being put together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    title: String,
    lead: String,
    sections: Vec<Section>,
    footer: String,
}

/// A part of a page under its own heading. Everything stands in the order it was added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    title: String,
    body: String,
}

/// A number that deserves to be seen first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tile {
    /// What it is.
    pub label: String,
    /// The number with its unit.
    pub value: String,
    /// What to compare it with; may be empty.
    pub detail: String,
}

impl Page {
    /// A page with a title and nothing else.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Sets the paragraph under the title.
    pub fn lead(&mut self, text: impl Into<String>) -> &mut Self {
        self.lead = text.into();
        self
    }

    /// Sets the line at the end, such as the version and the command that made the page.
    pub fn footer(&mut self, text: impl Into<String>) -> &mut Self {
        self.footer = text.into();
        self
    }

    /// Adds a section. One without a title has no heading.
    pub fn section(&mut self, section: Section) -> &mut Self {
        self.sections.push(section);
        self
    }

    /// The whole page.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        );
        if !self.lead.is_empty() {
            html.push_str(&element("p class=\"lead\"", &self.lead));
        }
        for section in &self.sections {
            html.push_str("<section>\n");
            if !section.title.is_empty() {
                html.push_str(&element("h2", &section.title));
            }
            html.push_str(&section.body);
            html.push_str("</section>\n");
        }
        if !self.footer.is_empty() {
            html.push_str(&element("footer", &self.footer));
        }
        html.push_str("</main>\n</body>\n</html>\n");
        html
    }

    /// Writes the page to `path`, whole or not at all.
    ///
    /// # Errors
    /// As [`write_atomic`].
    pub fn write(&self, path: &Path) -> Result<(), ReportError> {
        Ok(write_atomic(path, self.to_html().as_bytes())?)
    }
}

impl Section {
    /// An empty section under `title`.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), body: String::new() }
    }

    /// Adds text; an empty line begins a new paragraph.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            self.body.push_str(&element("p", paragraph.trim()));
        }
        self
    }

    /// Adds text that must not be overlooked.
    #[must_use]
    pub fn alarm(mut self, text: &str) -> Self {
        self.body.push_str(&element("p class=\"alarm\"", text));
        self
    }

    /// Adds text in which spaces and line ends count, such as a command and what it said.
    #[must_use]
    pub fn verbatim(mut self, text: &str) -> Self {
        self.body.push_str(&element("pre", text));
        self
    }

    /// Adds a row of key numbers.
    #[must_use]
    pub fn tiles(mut self, tiles: &[Tile]) -> Self {
        self.body.push_str("<div class=\"tiles\">\n");
        for Tile { label, value, detail } in tiles {
            self.body.push_str("<div class=\"tile\">");
            for (class, text) in [("label", label), ("value", value), ("detail", detail)] {
                self.body.push_str(&element(&format!("div class=\"{class}\""), text));
            }
            self.body.push_str("</div>\n");
        }
        self.body.push_str("</div>\n");
        self
    }

    /// Adds a table with its title and notes.
    #[must_use]
    pub fn table(mut self, table: &Table) -> Self {
        self.body.push_str("<div class=\"scroll\"><table>\n");
        if !table.title().is_empty() {
            self.body.push_str(&element("caption", table.title()));
        }
        self.body.push_str("<thead><tr>");
        for (column, name) in table.header().iter().enumerate() {
            let words = if table.is_words(column) { " class=\"words\"" } else { "" };
            self.body.push_str(&element(&format!("th scope=\"col\"{words}"), name));
        }
        self.body.push_str("</tr></thead>\n<tbody>\n");
        for row in table.rows() {
            self.body.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let tag = match column {
                    0 => "th scope=\"row\" class=\"words\"",
                    _ if table.is_words(column) => "td class=\"words\"",
                    _ => "td",
                };
                self.body.push_str(&element(tag, cell));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody>\n</table></div>\n");
        for note in table.notes() {
            self.body.push_str(&element("p class=\"note\"", note));
        }
        self
    }

    /// Adds a figure with a caption, which may be empty.
    #[must_use]
    pub fn figure(mut self, figure: &Svg, caption: &str) -> Self {
        self.body.push_str("<figure class=\"plot\">");
        self.body.push_str(figure.as_str());
        if !caption.is_empty() {
            self.body.push_str(&element("figcaption", caption));
        }
        self.body.push_str("</figure>\n");
        self
    }

    /// Adds a strip of small pictures under one caption, which may be empty.
    #[must_use]
    pub fn pictures(mut self, pictures: &[Picture], caption: &str) -> Self {
        self.body.push_str("<div class=\"pictures\">\n");
        pictures.iter().for_each(|picture| self.body.push_str(&picture.html()));
        self.body.push_str("</div>\n");
        if !caption.is_empty() {
            self.body.push_str(&element("p class=\"note\"", caption));
        }
        self
    }
}

/// An element around escaped text; `opening` is the tag with its attributes.
fn element(opening: &str, text: &str) -> String {
    let name = opening.split(' ').next().unwrap_or(opening);
    let mut html = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(html, "<{opening}>{}</{name}>", escape(text));
    html
}
