//! nginx, a stranger's upstream.

use std::{fs, net::SocketAddr, path::Path};

use tokio::process::{Child, Command};

use super::{daemon::daemon, upstream::dead};

/// nginx, serving until it is dropped.
pub(crate) struct Nginx {
    address: SocketAddr,
    _process: Child,
}

impl Nginx {
    /// Serves `folder/www` by the directives of one `server`.
    pub(crate) async fn start(folder: &Path, directives: &str) -> Self {
        let here = folder.display();
        let server = |address: SocketAddr| format!("server {{ listen {address}; root {here}/www; {directives} }}");
        Self::serving(folder, server).await
    }

    /// Serves what its directives for `http` say, whose paths begin at `folder`.
    pub(crate) async fn serving(folder: &Path, directives: impl FnOnce(SocketAddr) -> String) -> Self {
        // It can't be told to pick a port itself.
        let address = dead();
        let here = folder.display();
        let configuration = format!(
            "daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/nginx.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;\n\
             fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
             {} }}\n",
            directives(address)
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration).expect("the folder is the test's");
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(folder).arg("-c").arg(&file);
        let process = daemon("nginx", &mut nginx, address, || log(folder)).await;
        Self { address, _process: process }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("nginx.log")).unwrap_or_default()
}

#[tokio::test]
async fn nginx_serves_a_folder() {
    if super::skip::missing(&["nginx"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("www")).unwrap();
    let nginx = Nginx::start(folder.path(), "location /x { return 204; }").await;
    let response = super::raw::plain(nginx.address(), b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(super::raw::status(&response), 204);
}
