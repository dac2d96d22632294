//! Figures as a table for people, and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{contenders::cores, git::GITS};

/// One line of the table.
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) lanes: Vec<Lane>,
    /// More than fits the columns.
    pub(crate) note: String,
}

/// One contender's figures, a value a round.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f64>,
    /// Requests a second.
    pub(crate) rates: Vec<f64>,
    /// Share of the machine that went elsewhere.
    pub(crate) others: Vec<f64>,
    /// Sent and received.
    pub(crate) bytes: Vec<u64>,
    pub(crate) failed: u64,
}

pub(crate) const OURS: &str = "atoll";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const H2O: &str = "h2o";
pub(crate) const GIT: &str = "git";

impl Lane {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, values: Vec::new(), rates: Vec::new(), others: Vec::new(), bytes: Vec::new(), failed: 0 }
    }

    pub(crate) fn of(name: &'static str, values: Vec<f64>) -> Self {
        Self { values, ..Self::new(name) }
    }

    /// In the same rounds, the median of the ratios.
    pub(crate) fn against(&self, base: &Lane) -> f64 {
        median(&self.values.iter().zip(&base.values).map(|(own, base)| own / base).collect::<Vec<_>>())
    }

    fn cell(&self) -> String {
        let (least, most) = (quantile(&self.values, 0.0), quantile(&self.values, 1.0));
        let middle = number(median(&self.values));
        if self.values.len() < 2 { middle } else { format!("{middle} ({}–{})", number(least), number(most)) }
    }
}

impl Row {
    pub(crate) fn lane(&self, name: &str) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.name == name)
    }

    /// Whether it stands beside git, and not beside web servers.
    pub(crate) fn is_git(&self) -> bool {
        GITS.contains(&self.scenario)
    }

    /// Whose figures are one.
    fn base(&self) -> &'static str {
        if self.is_git() { GIT } else { NGINX }
    }

    fn ratio(&self, name: &str) -> String {
        let both = self.lane(name).zip(self.lane(self.base()));
        both.map_or_else(|| "–".to_owned(), |(lane, base)| format!("{:.2}", lane.against(base)))
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that this share of all is not above; between two, the line between them.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    #[expect(clippy::cast_precision_loss, reason = "a number of rounds")]
    let place = share * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside the list")]
    let at = place as usize;
    sorted[at] + (sorted[(at + 1).min(last)] - sorted[at]) * place.fract()
}

pub(crate) const HEADER: &str = "\
| | unit | atoll | nginx | h2o | atoll ÷ nginx | h2o ÷ nginx | requests/s | elsewhere |
|---|---|---|---|---|---|---|---|---|";

pub(crate) const GIT_HEADER: &str = "\
| | unit | atoll | git | atoll ÷ git | bytes on the wire |
|---|---|---|---|---|---|";

/// One line of Markdown under the header.
pub(crate) fn line(row: &Row) -> String {
    if row.is_git() {
        return git_line(row);
    }
    let standard = [OURS, NGINX, H2O].map(|name| row.lane(name));
    let cells = standard.map(|lane| lane.map_or_else(|| "–".to_owned(), Lane::cell));
    let rates: Vec<_> = standard.iter().flatten().filter(|lane| !lane.rates.is_empty()).collect();
    let rates = rates.iter().map(|lane| thousands(median(&lane.rates))).collect::<Vec<_>>().join(" / ");
    let others: Vec<f64> = standard.iter().flatten().flat_map(|lane| lane.others.clone()).collect();
    let others = if others.is_empty() { String::new() } else { format!("{:.0}%", median(&others) * 100.0) };
    let mut title = row.title.clone();
    if !row.note.is_empty() {
        let _ = write!(title, "; {}", row.note);
    }
    for lane in row.lanes.iter().filter(|lane| lane.failed > 0) {
        let _ = write!(title, "; {} of {}'s failed", lane.failed, lane.name);
    }
    format!(
        "| {title} | {} | {} | {} | {} | {} | {} | {rates} | {others} |",
        row.unit,
        cells[0],
        cells[1],
        cells[2],
        row.ratio(OURS),
        row.ratio(H2O)
    )
}

fn git_line(row: &Row) -> String {
    let both = [OURS, GIT].map(|name| row.lane(name));
    let cells = both.map(|lane| lane.map_or_else(|| "–".to_owned(), Lane::cell));
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let bytes = |lane: &Lane| median(&lane.bytes.iter().map(|&bytes| bytes as f64).collect::<Vec<_>>());
    let counted = both.iter().flatten().filter(|lane| !lane.bytes.is_empty());
    let bytes = counted.map(|lane| thousands(bytes(lane))).collect::<Vec<_>>().join(" / ");
    let note = if row.note.is_empty() { String::new() } else { format!("; {}", row.note) };
    format!("| {}{note} | {} | {} | {} | {} | {bytes} |", row.title, row.unit, cells[0], cells[1], row.ratio(OURS))
}

/// All of it, with the machine.
pub(crate) fn json(rows: &[Row], machine: &[(&'static str, String)]) -> Value {
    let machine: serde_json::Map<_, _> = machine.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let rows = rows.iter().map(|row| {
        let lanes = row.lanes.iter().map(|lane| {
            let ratio = row.lane(row.base()).map(|base| lane.against(base));
            json!({
                "name": lane.name, "values": lane.values, "median": median(&lane.values), "ratio": ratio,
                "ratio_to": row.base(), "bytes": lane.bytes,
                "requests_per_second": lane.rates, "elsewhere": lane.others, "failed": lane.failed,
            })
        });
        let lanes: Vec<_> = lanes.collect();
        json!({ "scenario": row.scenario, "title": row.title, "unit": row.unit, "lanes": lanes, "note": row.note })
    });
    json!({ "machine": machine, "cores": cores(), "rows": rows.collect::<Vec<_>>() })
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => thousands(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
