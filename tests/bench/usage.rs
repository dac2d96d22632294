//! What processes used of the machine, as Linux counts it in /proc: CPU time and memory of a server with its children, and
//! what the machine did beside.

use std::{collections::HashMap, fs};

/// Clock ticks a second in what /proc tells: `USER_HZ`, the same on every architecture that Rust's programs run on.
const TICKS: f64 = 100.0;

/// CPU time of a process and of all below it, at one moment.
pub(crate) struct Usage(HashMap<u32, Process>);

/// Time of the whole machine at one moment, all cores, in seconds.
pub(crate) struct Machine {
    total: f64,
    idle: f64,
    ours: f64,
}

#[derive(Default)]
struct Process {
    /// Seconds, in ticks, with threads that have ended.
    ticked: f64,
    /// Seconds of children that have ended.
    children: f64,
    /// Nanoseconds a thread; empty where the kernel does not tell.
    threads: HashMap<u32, u64>,
}

impl Usage {
    pub(crate) fn of(root: u32) -> Self {
        Self(tree(root).into_iter().filter_map(|id| Some((id, Process::of(id)?))).collect())
    }

    /// Seconds that were used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> f64 {
        let nothing = Process::default();
        self.0.iter().map(|(id, process)| process.since(earlier.0.get(id).unwrap_or(&nothing))).sum()
    }
}

impl Process {
    fn of(id: u32) -> Option<Self> {
        let stat = Stat::of(&id.to_string())?;
        Some(Self { ticked: stat.own, children: stat.children, threads: threads(id).unwrap_or_default() })
    }

    fn since(&self, earlier: &Self) -> f64 {
        // A thread that ended took its own count with it; the ticks have it.
        let complete = !self.threads.is_empty() && earlier.threads.keys().all(|id| self.threads.contains_key(id));
        let own = if complete {
            let used = |(id, now): (&u32, &u64)| now - earlier.threads.get(id).unwrap_or(&0);
            #[expect(clippy::cast_precision_loss, reason = "a measurement's length")]
            let nanoseconds = self.threads.iter().map(used).sum::<u64>() as f64;
            nanoseconds / 1e9
        } else {
            self.ticked - earlier.ticked
        };
        own + self.children - earlier.children
    }
}

impl Machine {
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").expect("Linux has it");
        let line = text.lines().next().expect("the line of all cores");
        let times: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal: what was stolen was used by others.
        let ours = Stat::of("self").map_or(0.0, |stat| stat.own + stat.children);
        Self { total: times.iter().sum::<f64>() / TICKS, idle: (times[3] + times[4]) / TICKS, ours }
    }

    /// The share of the machine that neither was idle since `earlier`, nor went to this program and its clients, nor to
    /// `servers` (seconds).
    pub(crate) fn others_since(&self, earlier: &Self, servers: f64) -> f64 {
        let total = self.total - earlier.total;
        let others = total - (self.idle - earlier.idle) - (self.ours - earlier.ours) - servers;
        if total > 0.0 { (others / total).max(0.0) } else { 0.0 }
    }
}

/// Bytes of memory of a process and all below it, what is shared counted in parts (PSS).
pub(crate) fn memory(root: u32) -> f64 {
    let pss = |id| {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok())
    };
    tree(root).into_iter().filter_map(pss).sum::<f64>() * 1024.0
}

/// Bytes that no file stands behind, of a process and all below it.
pub(crate) fn anonymous(root: u32) -> f64 {
    tree(root).into_iter().map(anonymous_of).sum()
}

/// The same of one process.
pub(crate) fn anonymous_of(id: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    line.and_then(|kilobytes| kilobytes.trim().parse::<f64>().ok()).unwrap_or_default() * 1024.0
}

/// A line of /proc/PID/stat.
struct Stat {
    parent: u32,
    own: f64,
    children: f64,
}

impl Stat {
    fn of(process: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name of the program may hold anything.
        let fields: Vec<_> = text[text.rfind(')')? + 2..].split(' ').collect();
        let seconds = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / TICKS);
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(11)? + seconds(12)?,
            children: seconds(13)? + seconds(14)?,
        })
    }
}

fn tree(root: u32) -> Vec<u32> {
    let names = fs::read_dir("/proc").expect("Linux has it").flatten();
    let ids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<_> = ids.filter_map(|id| Some((id, Stat::of(&id.to_string())?.parent))).collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(parents.iter().filter(|each| each.1 == parent).map(|each| each.0));
        at += 1;
    }
    found
}

fn threads(id: u32) -> Option<HashMap<u32, u64>> {
    let mut threads = HashMap::new();
    for task in fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten() {
        // One that ends meanwhile is not there.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        threads.insert(task.file_name().to_str()?.parse().ok()?, text.split(' ').next()?.parse().ok()?);
    }
    Some(threads)
}
