//! The one place where everything is put together: capabilities are made here and handed down.

mod addresses;
mod agents;
mod begins;
mod bindings;
mod branches;
mod certificates;
mod components;
mod decides;
mod descriptors;
mod door;
mod files;
mod front;
mod hooks;
mod host;
mod inspect;
mod knowing;
mod ledger;
mod outbound;
mod publishing;
mod rehearsal;
mod reload;
mod remotes;
mod running;
mod state;
mod status;
mod swapping;
mod upstreams;
mod watch;

use std::{
    io::stderr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use atoll_net::{Client, Dialler, HTTP, Inherited, SystemRoots, Tls};
use atoll_runtime::{Journal, Level, Role};
use jiff::Timestamp;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::SetOnce,
};
use tokio_util::sync::CancellationToken;

pub use self::inspect::{check, compile, inspect, test};
use self::{components::nobody_decides, front::Front, host::Host, state::State};
use crate::{
    allocator, cli,
    control::{
        messages::{Refusal, Reloaded, Status},
        server::{self, Control},
    },
    journal::Log,
    manifest::{Loaded, Manifest, Options},
    problem::Problems,
    progress::Progress,
    text::chain,
};

/// How long what was accepted may take to end, after a signal to stop.
const GRACE: Duration = Duration::from_secs(30);

/// The page that stands in the branch of a host that was started without a manifest, until its owner pushes another.
const DEMO: [(&str, &[u8]); 3] = [
    ("404.html", include_bytes!("../../demo/404.html")),
    ("index.html", include_bytes!("../../demo/index.html")),
    ("style.css", include_bytes!("../../demo/style.css")),
];

/// Serves until told to stop. `options` make the manifest again at a reload.
pub fn run(options: Options, loaded: Loaded, watch: bool) -> anyhow::Result<()> {
    descriptors::raise();
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(allocator::tidy)
        .build()
        .context("no threads to be had")?;
    let served = threads.block_on(serve(options, loaded, watch));
    // What is still read or compiled is of use to nobody now.
    threads.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve(options: Options, loaded: Loaded, watch: bool) -> anyhow::Result<()> {
    // First, so that a signal that comes early is not the end of us.
    let mut signals = Signals::new()?;
    // Before a child of ours could have them.
    let (pid, count) = (std::env::var("LISTEN_PID").ok(), std::env::var("LISTEN_FDS").ok());
    let inherited = Inherited::take(pid.as_deref(), count.as_deref(), std::process::id())?;
    let state = State::open(&options.state)?;
    let log = Arc::new(Log::printing(Box::new(Timestamp::now), stderr(), cli::colours(&stderr()))?);
    let Loaded { manifest, warnings } = loaded;
    let of_files = files::read(&manifest)?;
    for warning in warnings.into_iter().chain(of_files) {
        (&*log as &dyn Journal).host(Level::Warning, warning.to_string());
    }
    addresses::try_all(&manifest, &inherited)?;
    seed(&manifest, &state, &log)?;
    let control = server::listen(state.directory())?;

    // From now on whoever asks how it stands hears that it starts.
    let stop = CancellationToken::new();
    let running = Arc::new(App::default());
    let owner = rustix::process::geteuid().as_raw();
    let admits = move |peer| server::admits(owner, peer);
    let bounds = server::Bounds::default();
    let serving = tokio::spawn(server::serve(control, running.clone(), log.clone(), bounds, admits, stop.clone()));

    let progress = Progress::show("compiling and proving components");
    let starting = async {
        let host = Host::start(options, log.clone(), state, manifest.clone()).await?;
        let front = Front::open(&host, &manifest, inherited).await?;
        anyhow::Ok((host, front))
    };
    let (host, front) = tokio::select! {
        started = starting => started?,
        () = signals.stop() => {
            drop(progress);
            (&*log as &dyn Journal).host(Level::Info, "stopped before it served");
            log.flush(Duration::from_secs(1));
            return Ok(());
        }
    };
    drop(progress);
    announce(&host, &front).await;

    let reminded = front.clone();
    tokio::spawn(async move { reminded.remind().await });

    running.0.set((host.clone(), front.clone())).ok().context("a host starts once")?;
    if watch {
        tokio::spawn(watch::components(host.clone(), stop.clone()));
    }

    until_stopped(&mut signals, &running).await;
    host.say(Level::Info, "stopping: what was accepted is finished");
    tokio::select! {
        () = front.drain(GRACE) => {}
        // Asked twice, it is meant.
        () = signals.stop() => {}
    }
    stop.cancel();
    let _ = serving.await;
    log.flush(Duration::from_secs(1));
    Ok(())
}

/// Reloads whenever it is told to; one reload is enough for all that came during another.
async fn until_stopped(signals: &mut Signals, app: &Arc<App>) {
    while let Told::Reload = signals.next().await {
        let mut again = true;
        while std::mem::take(&mut again) {
            // In a task: signals are heard, whatever it waits for.
            let mut reload = tokio::spawn({
                let app = app.clone();
                async move { app.reload().await }
            });
            loop {
                tokio::select! {
                    // Why it failed, if it did, is in the log and in `ps`.
                    _ = &mut reload => break,
                    told = signals.next() => match told {
                        Told::Reload => again = true,
                        Told::Stop => {
                            reload.abort();
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// Makes the repositories of ours that people push to, where they are missing.
fn seed(manifest: &Manifest, state: &State, log: &Log) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    for binding in manifest.bindings.values().filter(|binding| binding.ours) {
        let Some(path) = binding.local() else { continue };
        // One that people pushed to is gone: what they pushed is ours yet, and the first page is not theirs.
        let lost = !path.exists() && state.git().join(format!("{}.git", binding.name)).exists();
        let files: &[(&str, &[u8])] = if *binding.name == *"pages" && !lost { &DEMO } else { &[] };
        let branch = binding.branch.as_deref().unwrap_or("main");
        atoll_git::seed(path, branch, files, now.cast_signed())
            .with_context(|| format!("the repository {} can't be made", path.display()))?;
        if lost {
            let words = format!("{} was gone, and was made anew without a commit: push to it again", path.display());
            (log as &dyn Journal).host(Level::Warning, words);
        }
    }
    Ok(())
}

async fn announce(host: &Host, front: &Front) {
    let bindings = host.bindings.load();
    for binding in bindings.values().filter(|binding| binding.said().ours) {
        if let Some(path) = binding.said().local() {
            host.say(Level::Info, format!("push to {}", path.display()));
        }
    }
    let components = host.components.load();
    let idle = components.iter().filter(|(_, running)| running.slot.serving().is_none());
    let idle: Vec<&str> = idle.map(|(name, _)| &**name).collect();
    let without = if idle.is_empty() { String::new() } else { format!(", without {}", idle.join(", ")) };
    let roles = || components.iter().map(|(name, running)| (&**name, running.role));
    let answers = roles().any(|(_, role)| !matches!(role, Some(Role::Agent))) && nobody_decides(roles()).is_none();
    let open = if answers { front.to_open().await } else { None };
    let open = open.map(|url| format!(": open {url}")).unwrap_or_default();
    host.say(Level::Info, format!("ready{without}{open}"));
}

/// What the socket asks for: nothing before it has started.
#[derive(Default)]
struct App(SetOnce<(Arc<Host>, Arc<Front>)>);

impl Control for App {
    async fn started(&self) {
        self.0.wait().await;
    }

    async fn status(&self) -> Status {
        let (host, front) = self.0.wait().await;
        status::status(host, front)
    }

    async fn swap(&self, name: &str, component: Vec<u8>) -> Result<String, Refusal> {
        match self.0.wait().await.0.swap(name, component).await {
            Ok(digest) => Ok(digest.to_string()),
            Err(error) => Err(refusal(name, error)),
        }
    }

    async fn reload(&self) -> Result<Reloaded, Refusal> {
        let (host, front) = self.0.wait().await;
        reload::reload(host, front).await
    }
}

/// A failed proof as problems with file and line.
fn refusal(name: &str, error: anyhow::Error) -> Refusal {
    match error.downcast::<atoll_runtime::Disproof>() {
        Ok(disproof) => {
            let problems = disproof.problems.into_iter().map(|problem| crate::problem::Problem {
                file: problem.file,
                line: problem.line,
                message: problem.message,
            });
            Refusal {
                message: format!("{name} was not swapped: the former goes on serving"),
                problems: problems.collect(),
            }
        }
        Err(error) => match error.downcast::<Problems>() {
            Ok(problems) => Refusal { message: format!("{name} was not swapped"), problems: problems.0 },
            Err(error) => Refusal::new(format!("{name} was not swapped: {}", chain(error.as_ref()))),
        },
    }
}

/// The client of guests, and whom it trusts.
fn client() -> (Client, Tls) {
    let client = Client::new(Dialler::system(), atoll_net::Options::default());
    (client, Tls::system(&SystemRoots::default(), HTTP))
}

enum Told {
    Reload,
    Stop,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    /// A reload that was asked for while nobody could do it.
    owed: bool,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals can't be listened to");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            owed: false,
        })
    }

    async fn stop(&mut self) {
        while let Told::Reload = self.heard().await {
            self.owed = true;
        }
    }

    async fn next(&mut self) -> Told {
        if std::mem::take(&mut self.owed) { Told::Reload } else { self.heard().await }
    }

    async fn heard(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
        }
    }
}
