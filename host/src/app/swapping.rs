//! One component's bytes replaced by others while it serves: by hand, or since its file changed.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use atoll_runtime::{Change, Code, Digest, Given, Level};

use super::{host::Host, running::Running};
use crate::{manifest::Name, text::chain};

impl Host {
    /// Replaces one component by other bytes, until the host stops; what does not pass is given up.
    pub(super) async fn swap(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<Digest> {
        let loader = self.loader.clone();
        let loaded = tokio::task::spawn_blocking(move || loader.bytes(bytes)).await?;
        let (running, digest, tried) = {
            // Between reloads: what it is held against is what it will serve as.
            let _turn = self.manifest.lock().await;
            let components = self.components.load();
            let running =
                components.iter().find(|(running, _)| ***running == *name).map(|(_, running)| running.clone());
            let running = running.with_context(|| format!("there is no component {name:?}"))?;
            let code = self.fitting(&running, loaded, Given::ByHand)?;
            (running.clone(), code.digest(), running.slot.attempt(Change::Code(code)).await)
        };
        let tried = tried.outcome().await;
        tried.inspect_err(|disproof| running.slot.refuse(Given::ByHand, format!("not swapped: {disproof}")))?;
        running.swapped_in(digest);
        let _turn = self.manifest.lock().await;
        if !self.components.load().get(&running.said.name).is_some_and(|now| now.is(&running)) {
            tokio::task::block_in_place(|| self.forget_others());
            anyhow::bail!("it is no part of the manifest any more");
        }
        if running.slot.serving().is_none_or(|serving| serving.digest() != digest) {
            anyhow::bail!("it served, and something else was put in its place meanwhile");
        }
        self.swapped(&running, digest);
        Ok(digest)
    }

    /// The file of a component changed: what it holds now is to serve, and waits for a later change where it does not pass.
    /// Why it fails, if it does, is in the log and in `ps` then.
    pub(super) async fn swap_file(&self, name: &Name, path: &Path) -> anyhow::Result<()> {
        let load = || {
            let (loader, path) = (self.loader.clone(), path.to_owned());
            tokio::task::spawn_blocking(move || loader.file(&path))
        };
        // Compiled beside all else that goes on.
        let _kept = load().await?;
        let (running, digest, served, tried) = {
            let _turn = self.manifest.lock().await;
            let running = self.components.load().get(name).filter(|running| running.said.path == path).cloned();
            let Some(running) = running else { return Ok(()) };
            // It, or what is in its place by now.
            let code = self.fitting(&running, load().await?, Given::AsItsFile)?;
            let digest = code.digest();
            if running.file() == Some(digest) {
                if running.slot.pardon() {
                    self.say(Level::Info, format!("{name}: its file is what it was again"));
                }
                return Ok(());
            }
            running.now_of(digest);
            running.slot.pardon();
            let served = running.slot.serving().is_some_and(|serving| serving.digest() == digest);
            (running.clone(), digest, served, running.slot.offer(vec![Change::Code(code)]).await)
        };
        tried.outcome().await?;
        if running.slot.serving().is_none_or(|serving| serving.digest() != digest) {
            // Somebody has put something else in its place meanwhile, and was told.
            return Ok(());
        }
        if served {
            self.say(Level::Info, format!("{name}: its file is what serves again"));
        } else {
            self.swapped(&running, digest);
        }
        Ok(())
    }

    fn swapped(&self, running: &Running, digest: Digest) {
        running.slot.pardon();
        self.about(&running.said.name, Level::Info, format!("swapped: {digest} serves"));
    }

    /// What may be swapped in: a component for what the manifest has it for, by its file, since by that requests are sent to
    /// it, or asked of it.
    fn fitting(&self, running: &Running, loaded: anyhow::Result<Arc<Code>>, given: Given) -> anyhow::Result<Arc<Code>> {
        let code = loaded.inspect_err(|error| self.refuse(running, given, chain(error.as_ref())))?;
        let name = &running.said.name;
        let words = match (code.surface().role, running.role) {
            (Some(now), Some(then)) if std::mem::discriminant(&now) != std::mem::discriminant(&then) => {
                format!("it is {}, and {name} is {}", now.with_article(), then.with_article())
            }
            (Some(_), None) => format!("nobody knows what {name} is for: put its file right, and `host reload`"),
            _ => return Ok(code),
        };
        self.refuse(running, given, words.clone());
        anyhow::bail!(words)
    }

    /// What was given is no candidate at all.
    fn refuse(&self, running: &Running, given: Given, words: String) {
        let words = format!("not swapped: {words}");
        self.about(&running.said.name, Level::Error, words.clone());
        running.slot.refuse(given, words);
    }
}
