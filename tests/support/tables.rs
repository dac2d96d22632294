//! Tables of a manifest that most tests want: our site and router, each with a bare repository beside the manifest, and a
//! guest of the fixtures.

use super::{
    git::Repository,
    guests::{component, fixture},
    host::Setup,
};

/// A folder beside each manifest.
pub(crate) const EMPTY: &str = "empty";

/// A site called `name` that serves `main` of `NAME.git`, as its binding `pages`.
pub(crate) fn site(name: &str) -> String {
    let path = component("site");
    format!(
        "[git.{name}-pages]\nremote = \"{name}.git\"\nbranch = \"main\"\n\
         [component.{name}]\npath = \"{}\"\ngit = {{ pages = {{ from = \"{name}-pages\", mode = \"read\" }} }}\n",
        path.display()
    )
}

/// Our router, with its route files in `main` of `routes.git`.
pub(crate) fn router() -> String {
    let path = component("router");
    format!(
        "[git.routes]\nremote = \"routes.git\"\nbranch = \"main\"\n\
         [component.router]\npath = \"{}\"\ngit = {{ routes = \"read\" }}\n",
        path.display()
    )
}

/// A fixture under a name of its own; further `lines` end its table.
pub(crate) fn guest(name: &str, fixture_name: &str, lines: &str) -> String {
    format!("[component.{name}]\npath = \"{}\"\n{lines}\n", fixture(fixture_name).display())
}

/// The fixture that does as its path says; it may read a folder that is empty. Further `lines` end its table.
pub(crate) fn mischief(name: &str, lines: &str) -> String {
    let git = format!("git = {{ pages = {{ from = \"{name}-empty\", mode = \"read\" }} }}\n");
    let table = guest(name, "mischief", &format!("{git}{lines}"));
    format!("[git.{name}-empty]\nremote = \"{EMPTY}/\"\n{table}")
}

/// A URL to forward to.
pub(crate) fn upstream(name: &str, address: impl std::fmt::Display) -> String {
    format!("[upstream.{name}]\nurl = \"http://{address}\"\n")
}

impl Setup {
    /// The bare repository `NAME.git` beside the manifest, made now.
    pub(crate) fn repository(&self, name: &str) -> Repository {
        Repository::bare(self.path(&format!("{name}.git")))
    }
}
