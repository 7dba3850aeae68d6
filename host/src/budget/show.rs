//! The trade-off as a table and as a plot.

use super::error::shown;
use super::{Candidate, TradeOff};
use crate::report::{LineChart, ReportError, Series, Svg, Table};

/// What a plot sets contributions against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Planned peak memory.
    Memory,
    /// Measured time of a step.
    Time,
}

impl TradeOff {
    /// Contribution of everything, which shares are of.
    fn whole(&self) -> f64 {
        self.contributions.values().sum::<f64>().max(f64::MIN_POSITIVE)
    }

    /// The share of the whole gradient's squared norm that a candidate holds, in per cent.
    pub fn share(&self, candidate: &Candidate) -> f64 {
        100.0 * candidate.contribution / self.whole()
    }

    /// Every candidate in a row, by rising memory; `*` marks the one chosen.
    pub fn table(&self) -> Table {
        let header = ["trained", "weights", "contribution, %", "planned MB", "ms", "fits", ""];
        let mut table = Table::new(format!("what to train within {}", shown(&self.budget)), header);
        for row in &self.rows {
            table.row([
                row.words.clone(),
                row.weights.len().to_string(),
                format!("{:.2}", self.share(row)),
                format!("{:.2}", row.planned_mb),
                row.ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1}")),
                if row.fits { "yes" } else { "no" }.to_owned(),
                if row.chosen { "*" } else { "" }.to_owned(),
            ]);
        }
        let data = if self.noise { "batches of seeded noise, not data" } else { "batches of the data" };
        table.note(format!(
            "contribution: squared norm of the gradient, mean over {} {data}; ms: on this machine",
            self.batches
        ));
        if let Some(chosen) = self.chosen() {
            table.note(format!("chosen: --train '{}'", chosen.selection));
        }
        table
    }

    /// Contributions against memory or time: what fits, what does not, what was chosen, and the limit.
    ///
    /// # Errors
    /// When there is nothing to draw, as when nothing was timed.
    pub fn figure(&self, against: Against) -> Result<Svg, ReportError> {
        let (label, limit) = match against {
            Against::Memory => ("planned peak memory of a step, MB", self.budget.mb),
            Against::Time => ("time of a step, ms", self.budget.ms),
        };
        let x = |row: &Candidate| match against {
            Against::Memory => Some(row.planned_mb),
            Against::Time => row.ms,
        };
        let dots = |name: &str, is: &dyn Fn(&Candidate) -> bool| {
            // A gap after each point leaves single points, which are drawn as dots.
            let rows = self.rows.iter().filter(|row| is(row));
            let points = rows.filter_map(|row| Some((x(row)?, self.share(row))));
            let points = points.flat_map(|point| [point, (f64::NAN, f64::NAN)]).collect();
            Series { name: name.into(), points }
        };
        let mut series = vec![
            dots("fits", &|row| row.fits && !row.chosen),
            dots("does not fit", &|row| !row.fits),
            dots("chosen", &|row| row.chosen),
        ];
        if let Some(limit) = limit {
            series.push(Series { name: "budget".into(), points: vec![(limit, 0.0), (limit, 100.0)] });
        }
        series.retain(|series| !series.points.is_empty());
        let title = "Contribution of what is trained against its cost".into();
        let y_label = "squared norm of the gradient, % of all".into();
        LineChart { title, x_label: label.into(), y_label, series }.draw()
    }
}
