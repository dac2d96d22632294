//! tinyproxy, a forward proxy that lets only the user `me` in, with the password `secret`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::process::{Child, Command};

use super::{daemon::daemon, upstream::dead};

/// On loopback, until it is dropped.
pub(crate) struct Tinyproxy {
    address: SocketAddr,
    log: PathBuf,
    _process: Child,
}

impl Tinyproxy {
    /// `folder` is for its own files.
    pub(crate) async fn start(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("the folder is the test's");
        let (address, log) = (dead(), folder.join("tinyproxy.log"));
        let configuration = format!(
            "Listen {}\nPort {}\nTimeout 60\nLogFile \"{}\"\nLogLevel Connect\nMaxClients 50\nBasicAuth me secret\n",
            address.ip(),
            address.port(),
            log.display()
        );
        let file = folder.join("tinyproxy.conf");
        fs::write(&file, configuration).expect("the folder is the test's");
        let mut tinyproxy = Command::new("tinyproxy");
        tinyproxy.arg("-d").arg("-c").arg(&file);
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let process = daemon("tinyproxy", &mut tinyproxy, address, said).await;
        Self { address, log, _process: process }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first lines of what it was asked, such as `CONNECT a.test:443 HTTP/1.1`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let asked = |line: &str| Some(line.split_once("Request (")?.1.split_once("): ")?.1.to_owned());
        log.lines().filter_map(asked).collect()
    }
}
