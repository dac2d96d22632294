//! A component's file, read and compiled once in a process, whoever asks for it.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use atoll_runtime::{Code, Compiler, Digest, Engine, Surface};
use bytes::Bytes;
use tokio::runtime;

use crate::{Error, Guest, World};

/// A component, compiled.
#[derive(Clone)]
pub struct Component {
    name: Arc<str>,
    code: Arc<Code>,
}

impl Component {
    /// Reads and compiles a `.wasm` file. The component is named by the file's stem.
    ///
    /// # Errors
    /// There is no such file, or it is no component that can be compiled.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::load_with(&Compiler::in_process(), path)
    }

    /// The same by a compiler of one's own: in a child, for instance, which a file that is made to hurt costs alone.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(compiler: &Compiler, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::compiled(compiler, &name, bytes.into())
    }

    /// The same from memory; `name` is what it is called in the manifest.
    ///
    /// # Errors
    /// The bytes are no component that can be compiled.
    pub fn from_bytes(name: &str, bytes: impl Into<Bytes>) -> Result<Self, Error> {
        Self::compiled(&Compiler::in_process(), name, bytes.into())
    }

    fn compiled(compiler: &Compiler, name: &str, bytes: Bytes) -> Result<Self, Error> {
        let load = |source| Error::Load { name: name.into(), source };
        Ok(Self { name: name.into(), code: Shared::of_this_process()?.code(compiler, bytes).map_err(load)? })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it imports and exports, and the role that follows.
    pub fn surface(&self) -> &Surface {
        self.code.surface()
    }

    /// Links it to what it is given, as a host does with what a manifest grants. The guest starts when it is first asked.
    ///
    /// # Errors
    /// It imports what it was not given, with the line of the manifest that would grant it, or what no host has; it
    /// exports nothing that a host calls; or the world can't be as it was described.
    pub fn given(&self, world: World) -> Result<Guest, Error> {
        Guest::new(Shared::of_this_process()?, self.name.clone(), self.code.clone(), world)
    }
}

/// What all tests of a process share: an engine reserves addresses by the gigabyte, and compiling takes a hundred
/// milliseconds where a test takes one. Nothing of a guest's is in here.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) threads: runtime::Runtime,
    compiled: Mutex<HashMap<Digest, Arc<Mutex<Option<Arc<Code>>>>>>,
}

impl Shared {
    fn of_this_process() -> Result<&'static Self, Error> {
        static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
        SHARED.get_or_init(Self::new).as_ref().map_err(|words| Error::Engine(words.clone()))
    }

    fn new() -> Result<Self, String> {
        let engine = Engine::new().map_err(|error| format!("{error:#}"))?;
        let threads = runtime::Builder::new_multi_thread().enable_all().thread_name("guest").build();
        Ok(Self { engine, threads: threads.map_err(|error| error.to_string())?, compiled: Mutex::default() })
    }

    fn code(&self, compiler: &Compiler, bytes: Bytes) -> Result<Arc<Code>, atoll_runtime::LoadError> {
        let compiled =
            self.compiled.lock().unwrap_or_else(PoisonError::into_inner).entry(Digest::of(&bytes)).or_default().clone();
        // Held while it compiles: a second test that wants the same component waits for it.
        let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = &*compiled {
            return Ok(code.clone());
        }
        let code = Arc::new(compiler.load(&self.engine, bytes)?);
        Ok(compiled.insert(code).clone())
    }
}
