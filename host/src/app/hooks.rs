//! What comes of a hook: whoever knows a binding's secret has it fetched at once, and may wait for the proofs.

use std::{pin::Pin, sync::Arc};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use atoll_gateway::http::{Hook, Hooks, Told};
use atoll_git::Fetched;
use atoll_net::Secret;
use atoll_runtime::Disproof;
use http::HeaderMap;
use serde_json::json;

use super::{
    bindings::{Binding, Bindings},
    host::Components,
};
use crate::{manifest::Name, text::chain};

/// The longest secret, in bytes.
const MAX_SECRET: u64 = 4096;

/// The hooks of all bindings.
#[derive(Clone)]
pub(super) struct Pushes {
    bindings: Arc<ArcSwap<Bindings>>,
    components: Arc<ArcSwap<Components>>,
}

impl Pushes {
    pub(super) fn new(bindings: Arc<ArcSwap<Bindings>>, components: Arc<ArcSwap<Components>>) -> Self {
        Self { bindings, components }
    }

    async fn told(self, hook: Hook) -> Told {
        let binding = self.bindings.load().get(hook.binding.as_str()).cloned();
        // Read and compared whether there is such a binding or not, with a secret or without: it takes about as long.
        let at = binding.as_ref().and_then(|binding| binding.hook());
        let at = at.map_or_else(|| Secret::File("/dev/null".into()), |at| (*at).clone());
        let secret = tokio::task::spawn_blocking(move || secret(&at)).await.ok().flatten();
        let known = atoll_git::knows(secret.as_deref().unwrap_or(b"nobody's"), &hook.head, &hook.body);
        let (Some(binding), true, true) = (binding, secret.is_some(), known) else { return Told::Denied };
        if hook.wait {
            return self.proved(&binding).await;
        }
        tokio::spawn(async move {
            // How it went is in the log and on the binding.
            let _ = binding.fetch().await;
        });
        Told::Accepted
    }

    async fn proved(&self, binding: &Arc<Binding>) -> Told {
        if let Err(words) = fetch(binding).await {
            return Told::Failed(json!({ "error": words }).to_string());
        }
        let proofs = pass_on(binding, &self.components.load_full()).await;
        let all = proofs.iter().all(|(_, disproof)| disproof.is_none());
        let component = |(name, disproof): (Name, Option<Disproof>)| match disproof {
            None => json!({ "name": *name, "serves": true }),
            Some(disproof) => json!({ "name": *name, "serves": false, "error": disproof.to_string() }),
        };
        let components: Vec<_> = proofs.into_iter().map(component).collect();
        let report = json!({ "revision": binding.revision(), "components": components }).to_string();
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

/// Waits until every component that reads the binding has proved what was fetched, or has said why it can't be.
pub(super) async fn pass_on(binding: &Binding, components: &Components) -> Vec<(Name, Option<Disproof>)> {
    binding.passed_on().await;
    let mut proofs = Vec::new();
    for (name, running) in components {
        if running.said.git.values().any(|grant| grant.from == binding.said().name) {
            proofs.push((name.clone(), running.slot.change(Vec::new()).await.err()));
        }
    }
    proofs
}

impl Hooks for Pushes {
    fn signed(&self, head: &HeaderMap) -> bool {
        atoll_git::claims(head)
    }

    fn tell(&self, hook: Hook) -> Pin<Box<dyn Future<Output = Told> + Send>> {
        Box::pin(self.clone().told(hook))
    }
}

/// What makes a binding's secret useless.
pub(super) fn check(at: &Secret) -> anyhow::Result<()> {
    let of_no_use = "has no secret in its first line: nobody could tell of a push";
    secret(at).map(drop).with_context(|| format!("`hook`: {at} {of_no_use}"))
}

/// The first line; nothing where there is none, or no such place.
fn secret(at: &Secret) -> Option<Vec<u8>> {
    let text = String::from_utf8(at.read(MAX_SECRET).ok()?).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.as_bytes().to_vec())
}
