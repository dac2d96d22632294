//! What comes of a hook: whoever knows a binding's secret has it fetched at once, and may wait for the proofs.

use std::{io, net::IpAddr, pin::Pin, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use atoll_gateway::{
    Complaints,
    http::{Heard, Hook, Hooks, Told, Unheard},
};
use atoll_git::Fetched;
use atoll_net::{Secret, drawn};
use atoll_runtime::{Disproof, Journal, Level, Problem};
use http::HeaderMap;
use serde_json::json;

use super::{
    bindings::{Binding, Bindings},
    host::Components,
};
use crate::{
    journal::Log,
    manifest::{self, Name},
    text::chain,
};

/// The longest secret, in bytes.
const MAX_SECRET: u64 = 4096;

/// The shortest that is taken, in characters.
const MIN_SECRET: usize = 16;

/// As many bytes as nobody can guess: GitHub's own example has them.
const DRAWN: usize = 20;

/// How often heads that came meanwhile are waited for.
const ROUNDS: usize = 8;

/// Why a binding's secret is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Useless {
    #[error("{at} cannot be read")]
    Unreadable { at: Secret, source: io::Error },
    #[error("{0} is not text: nobody could tell of a push")]
    Form(Secret),
    #[error("{0} has no secret in its first line: nobody could tell of a push")]
    Empty(Secret),
    #[error(
        "{at} has a secret of {length} characters in its first line, which could be guessed: {MIN_SECRET} are the least; `openssl rand -hex 32` makes a good one"
    )]
    Short { at: Secret, length: usize },
}

/// The hooks of all bindings.
#[derive(Clone)]
pub(super) struct Pushes {
    bindings: Arc<ArcSwap<Bindings>>,
    components: Arc<ArcSwap<Components>>,
    log: Arc<Log>,
    /// Of hooks of no binding, and of addresses that are heard no more.
    complaints: Arc<[Complaints; 2]>,
}

impl Pushes {
    pub(super) fn new(bindings: Arc<ArcSwap<Bindings>>, components: Arc<ArcSwap<Components>>, log: Arc<Log>) -> Self {
        Self { bindings, components, log, complaints: Arc::default() }
    }

    async fn heard(self, hook: Hook) -> Heard {
        let binding = self.bindings.load().get(hook.binding.as_str()).cloned();
        // Read and compared whether there is such a binding or not, with a secret or without: it takes about as long.
        let at = binding.as_ref().and_then(|binding| binding.hook());
        let at = at.map_or_else(|| Secret::File("/dev/null".into()), |at| (*at).clone());
        let secret = tokio::task::spawn_blocking(move || secret(&at)).await.ok();
        if let Some(binding) = binding.as_ref().filter(|binding| binding.hook().is_some()) {
            binding.found_secret(secret.as_ref().and_then(|secret| secret.as_ref().err()).map(|error| chain(error)));
        }
        let secret = secret.and_then(Result::ok);
        let known = atoll_git::knows(secret.as_deref().unwrap_or("nobody's").as_bytes(), &hook.head, &hook.body);
        let (Some(binding), true, true) = (binding, secret.is_some(), known) else {
            return Heard::Now(Told::Denied);
        };
        if hook.wait {
            return Heard::Later(Box::pin(async move { self.proved(&binding).await }));
        }
        tokio::spawn(async move {
            // How it went is in the log and on the binding.
            let _ = binding.fetch().await;
        });
        Heard::Now(Told::Accepted)
    }

    async fn proved(&self, binding: &Arc<Binding>) -> Told {
        if let Err(words) = fetch(binding).await {
            return Told::Failed(json!({ "error": words }).to_string());
        }
        let (revision, proofs) = pass_on(binding, &self.components.load_full()).await;
        let all = proofs.iter().all(|(_, disproof)| disproof.is_none());
        let component = |(name, disproof): (Name, Option<Disproof>)| match disproof {
            None => json!({ "name": *name, "serves": true }),
            Some(disproof) => json!({ "name": *name, "serves": false, "error": disproof.to_string() }),
        };
        let components: Vec<_> = proofs.into_iter().map(component).collect();
        let report = json!({ "revision": revision, "components": components }).to_string();
        if all { Told::Serves(report) } else { Told::Disproved(report) }
    }
}

/// Fetches.
///
/// # Errors
/// Why nothing came, in words.
pub(super) async fn fetch(binding: &Binding) -> Result<(), String> {
    match binding.fetch().await {
        Ok(Fetched::Gone(words)) => Err(words),
        Ok(Fetched::Moved { .. } | Fetched::Unchanged | Fetched::Unborn) => Ok(()),
        Err(error) => Err(chain(&*error)),
    }
}

/// Waits until every component that reads the binding has proved what was fetched, or has said why it can't be; and says of
/// which head that is. Where heads come faster than proofs, of one that some serve no more.
pub(super) async fn pass_on(
    binding: &Binding,
    components: &Components,
) -> (Option<String>, Vec<(Name, Option<Disproof>)>) {
    let mut rounds = 0..ROUNDS;
    loop {
        let passed = binding.passed_on().await;
        let head = binding.revision();
        let mut proofs = Vec::new();
        for (name, running) in components {
            let reads = |(_, grant): &(&Name, &manifest::Grant)| grant.from == binding.said().name;
            let known: Vec<_> = running.said.git.iter().filter(reads).map(|(known, _)| known).collect();
            if known.is_empty() {
                continue;
            }
            let disproof = running.slot.change(Vec::new()).await.err();
            // What waits may be another's.
            let at = head.as_deref().unwrap_or_default();
            let serves = running.slot.serving().is_some_and(|serving| {
                known.iter().all(|known| serving.revisions().get(&***known).is_some_and(|serves| serves == at))
            });
            proofs.push((name.clone(), if serves { Ok(()) } else { Err(disproof) }));
        }
        // By a head that came meanwhile: what was found then may be of another branch.
        let moved = binding.revision() != head;
        let overtaken = proofs.iter().any(|(_, proof)| *proof == Err(None) || moved && proof.is_err());
        if !overtaken || !passed || rounds.next().is_none() {
            let other = || other_head(binding);
            let told = |proof: Result<(), Option<Disproof>>| proof.err().map(|why| why.unwrap_or_else(other));
            return (head, proofs.into_iter().map(|(name, proof)| (name, told(proof))).collect());
        }
    }
}

/// Nothing waits to be proved, and what serves is not what was asked about.
fn other_head(binding: &Binding) -> Disproof {
    let message = binding.error().unwrap_or_else(|| "it serves another head".to_owned());
    Disproof { problems: vec![Problem { file: None, line: None, message }], passing: true }
}

impl Hooks for Pushes {
    fn signed(&self, head: &HeaderMap) -> bool {
        atoll_git::claims(head)
    }

    fn tell(&self, hook: Hook) -> Pin<Box<dyn Future<Output = Heard> + Send>> {
        Box::pin(self.clone().heard(hook))
    }

    /// What the client calls it is not repeated, nor is what it shows: that may be somebody's secret.
    fn unheard(&self, binding: &str, client: IpAddr, why: Unheard, now: Instant) {
        let [nobodys, barred] = &*self.complaints;
        let (complaints, words) = match (why, self.bindings.load().get(binding)) {
            (Unheard::Barred(left), _) => {
                let words =
                    format!("hooks from {client} are not heard for {} s: too many were refused", left.as_secs());
                (barred, words)
            }
            (_, None) => (nobodys, format!("a hook from {client} is refused: it is of no binding that is here")),
            (why, Some(binding)) => {
                let why = match (binding.hook(), why) {
                    (None, _) => "there is no `hook` in the binding".to_owned(),
                    (Some(_), Unheard::Unsigned) => "it has neither a signature nor a secret".to_owned(),
                    (Some(at), _) => match binding.useless_secret() {
                        None => format!("what it shows does not go with the secret in {at}"),
                        Some(useless) => useless.to_string(),
                    },
                };
                return binding.refused(&format!("a hook from {client} is refused: {why}"), now);
            }
        };
        if let Some(more) = complaints.failed(now) {
            let log: &dyn Journal = &*self.log;
            log.host(Level::Warning, format!("{words}{more}"));
        }
    }
}

/// What should be said of a binding's secret, though it is taken. Blocks.
///
/// # Errors
/// What makes it useless.
pub(super) fn check(at: &Secret) -> Result<Option<String>, Useless> {
    let weak = drawn(secret(at)?.as_bytes(), DRAWN).err();
    let words = |why| format!("the secret in {at} could be guessed: {why}; `openssl rand -hex 32` makes a good one");
    Ok(weak.map(words))
}

/// The first line.
fn secret(at: &Secret) -> Result<String, Useless> {
    let place = || at.clone();
    let bytes = at.read(MAX_SECRET).map_err(|source| Useless::Unreadable { at: place(), source })?;
    let text = String::from_utf8(bytes).map_err(|_| Useless::Form(place()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let line = text.lines().next().unwrap_or_default().trim();
    match line.chars().count() {
        0 => Err(Useless::Empty(place())),
        length @ ..MIN_SECRET => Err(Useless::Short { at: place(), length }),
        _ => Ok(line.to_owned()),
    }
}
