//! What the README states of limits is what they are.

use super::{Fixture, Limits, SITE, WHOLE};

/// Key and default of each row of the table with this head.
fn stated(head: &str) -> Vec<(&'static str, &'static str)> {
    let readme = include_str!("../../../../README.md");
    let (_, table) = readme.split_once(head).expect("the README has the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &'static str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        (cells[2].trim_matches('`'), cells[3].split(' ').next().unwrap())
    };
    rows.map(row).collect()
}

fn lines(rows: &[(&str, &str)]) -> String {
    let value = |text: &str| if text.parse::<u64>().is_ok() { text.to_owned() } else { format!("'{text}'") };
    rows.iter().map(|(key, text)| format!("{key} = {}", value(text))).collect::<Vec<_>>().join("\n")
}

#[test]
fn defaults_of_clients_limits() {
    let rows = stated("| of a client | key | default | beyond it |");
    let all = WHOLE.split_once("[limits]\n").unwrap().1.lines().take_while(|line| !line.is_empty());
    let all: Vec<_> = all.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(rows.iter().map(|(key, _)| *key).collect::<Vec<_>>(), all, "each has a row");
    let manifest = Fixture::new().manifest(&format!("[limits]\n{}\n{SITE}", lines(&rows)));
    assert_eq!(manifest.limits, atoll_gateway::http::Limits::default());
}

#[test]
fn defaults_of_components_limits() {
    let rows = stated("| of a component | key | default |");
    assert_eq!(rows.len(), 6);
    let text = format!("[component.site]\npath = 'site.wasm'\n{}", lines(&rows));
    let limits = Fixture::new().manifest(&text).components["site"].limits;
    assert_eq!(limits.request(), Limits::default().request());
    assert_eq!(Limits { timeout: None, ..limits }, Limits::default());
}
