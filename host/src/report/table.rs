//! A table, once, for both readers: aligned plain text for the terminal, and the same rows in the
//! page.

use std::fmt;

/// Rows under a header. Numbers stand to the right of their column, words to the left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    title: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    /// A table without rows yet.
    pub fn new<S: Into<String>>(title: impl Into<String>, header: impl IntoIterator<Item = S>) -> Self {
        let header = header.into_iter().map(Into::into).collect();
        Self { title: title.into(), header, rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a row. Cells it lacks are empty; cells beyond the header are dropped.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.header.len(), String::new());
        self.rows.push(cells);
        self
    }

    /// Adds a note under the table.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }

    /// What it shows.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The rows, each as long as the header.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// Whether a column is of words: the first, and any in which a cell begins with a letter.
    pub fn is_words(&self, column: usize) -> bool {
        let wordy = |cell: &String| cell.starts_with(char::is_alphabetic);
        column == 0 || self.rows.iter().filter_map(|row| row.get(column)).any(wordy)
    }

    /// The table in Markdown: a heading, the rows, the notes.
    pub fn to_markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| plain(cell).replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<String> = (0..self.header.len())
            .map(|column| if self.is_words(column) { "---" } else { "---:" }.to_owned())
            .collect();
        let mut text = format!("{}\n\n{}{}", plain(&self.title), line(&self.header), line(&rule));
        self.rows.iter().for_each(|row| text.push_str(&line(row)));
        self.notes.iter().for_each(|note| text.push_str(&format!("\n{}\n", plain(note))));
        text
    }

    /// What stands under it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Plain text with aligned columns; control characters in cells become spaces, so that no data can
/// steer a terminal.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = |text: &String| plain(text);
        let header: Vec<String> = self.header.iter().map(clean).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(clean).collect()).collect();
        let mut widths = vec![0; header.len()];
        for row in std::iter::once(&header).chain(&rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.title.is_empty() {
            writeln!(f, "{}", plain(&self.title))?;
        }
        let words: Vec<bool> = (0..header.len()).map(|column| self.is_words(column)).collect();
        write_row(f, &header, &widths, &words)?;
        let ruled = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        writeln!(f, "{}", "-".repeat(ruled))?;
        for row in &rows {
            write_row(f, row, &widths, &words)?;
        }
        for note in &self.notes {
            writeln!(f, "{}", plain(note))?;
        }
        Ok(())
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn write_row(f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize], words: &[bool]) -> fmt::Result {
    let mut line = String::new();
    for (column, ((cell, width), words)) in cells.iter().zip(widths).zip(words).enumerate() {
        if column > 0 {
            line.push_str("  ");
        }
        let padded = if *words { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
        line.push_str(&padded);
    }
    writeln!(f, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new("accuracy, %", ["", "encoder", "raw"]);
        table.row(["kNN", "71.3 ± 1.2", "40.0"]).row(["1 label per class", "9.9"]).note("n = 5");
        let wanted = "\
accuracy, %
                      encoder   raw
-----------------------------------
kNN                71.3 ± 1.2  40.0
1 label per class         9.9
n = 5
";
        assert_eq!(table.to_string(), wanted);
    }

    #[test]
    fn words_stand_to_the_left() {
        let mut table = Table::new("", ["", "value", "meaning"]);
        table.row(["spread", "0.9", "wide"]).row(["rank", "30.2", "many directions"]);
        let lines = [
            "        value  meaning",
            "------------------------------",
            "spread    0.9  wide",
            "rank     30.2  many directions",
        ];
        assert_eq!(table.to_string().lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn data_cannot_steer_the_terminal() {
        let mut table = Table::new("", ["a\u{1b}[31m"]);
        table.row(["x\ny"]);
        assert!(table.to_string().chars().all(|c| c == '\n' || !c.is_control()));
        assert_eq!(table.to_string().lines().count(), 3);
    }
}
