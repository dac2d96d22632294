//! Git's own servers: `git daemon`, and `git http-backend` behind nginx. Each lives in a process of the test's, on
//! loopback, until it is dropped.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::{
    ca::Ca,
    host::Setup,
    nginx::Nginx,
    upstream::dead,
    wait::{SOON, until},
};

/// `git daemon` of all that lies in a folder, pushes allowed.
pub(crate) struct Daemon {
    address: SocketAddr,
    _process: Child,
}

impl Daemon {
    pub(crate) async fn start(root: &Path) -> Self {
        Self::at(root, dead()).await
    }

    /// At an address that nobody has.
    pub(crate) async fn at(root: &Path, address: SocketAddr) -> Self {
        // Not by `git daemon`, which would be another process's parent.
        let mut process = Command::new(programs().join("git-daemon"))
            .arg("--reuseaddr")
            .arg("--export-all")
            .arg("--enable=receive-pack")
            .arg(format!("--base-path={}", root.display()))
            .arg(format!("--listen={}", address.ip()))
            .arg(format!("--port={}", address.port()))
            .arg(root)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("git is installed");
        until(SOON, "git daemon", async || {
            assert!(process.try_wait().expect("a child of ours").is_none(), "git daemon ended");
            TcpStream::connect(address).await.ok()
        })
        .await;
        Self { address, _process: process }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// `git http-backend` behind nginx: repositories at `/NAME.git`, and with a user `me` and the password `secret` at
/// `/private/NAME.git`, with the bearer `token` at `/bearer/NAME.git`. At `/moved/` and without `.git`, redirects; at
/// `/elsewhere/`, to another server. At `/401/` and the like a push is answered so.
pub(crate) struct Web {
    plain: SocketAddr,
    secure: SocketAddr,
    /// The authority's certificate, PEM.
    ca: String,
    _nginx: Nginx,
    _backend: Child,
}

impl Web {
    /// What lies in `root`; `folder` is for the servers' own files. The certificate is for localhost.
    pub(crate) async fn start(root: &Path, folder: &Path, ca: &Ca, elsewhere: &str) -> Self {
        fs::create_dir_all(folder).expect("the folder is the test's");
        ca.issue(&["localhost", "127.0.0.1"]).write(folder, "web");
        fs::write(folder.join("users"), "me:{PLAIN}secret\nx-access-token:{PLAIN}token\n")
            .expect("the folder is the test's");
        let socket = folder.join("backend.sock");
        let backend = Command::new("fcgiwrap")
            .arg("-s")
            .arg(format!("unix:{}", socket.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("fcgiwrap is installed");
        until(SOON, "fcgiwrap", async || tokio::net::UnixStream::connect(&socket).await.ok()).await;
        let secure = dead();
        let (folder_text, root_text, programs) = (folder.display(), root.display(), programs());
        let pass = format!(
            "gzip off; client_max_body_size 0; fastcgi_pass unix:{};\n\
             fastcgi_param SCRIPT_FILENAME {}; fastcgi_param GIT_PROJECT_ROOT {root_text};\n\
             fastcgi_param GIT_HTTP_EXPORT_ALL 1; fastcgi_param PATH_INFO $path; fastcgi_param REMOTE_USER $remote_user;\n\
             fastcgi_param REQUEST_METHOD $request_method; fastcgi_param QUERY_STRING $query_string;\n\
             fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;\n\
             fastcgi_param GIT_PROTOCOL $http_git_protocol; fastcgi_param REMOTE_ADDR $remote_addr;",
            socket.display(),
            programs.join("git-http-backend").display()
        );
        let denying = ["401", "403", "404", "500", "502"].map(|status| {
            format!(
                "location ~ ^/{status}(?<path>/.*)$ {{ if ($request_uri ~ git-receive-pack) {{ return {status}; }} {pass} }}\n"
            )
        });
        let denying = denying.concat();
        let directives = format!(
            "listen {secure} ssl http2; ssl_certificate {folder_text}/web.pem; ssl_certificate_key {folder_text}/web.key;\n\
             location ~ ^/elsewhere(?<path>/.*)$ {{ return 302 {elsewhere}$path$is_args$args; }}\n\
             location ~ ^/moved(?<path>/.*)$ {{ return 301 $path$is_args$args; }}\n\
             location ~ ^/(?<name>[a-z]+)/info/refs$ {{ return 301 /$name.git/info/refs$is_args$args; }}\n\
             {denying}
             location = /page {{ return 200 hello; }}\n\
             location = /broken.git/info/refs {{ default_type text/plain; return 500 'out of order'; }}\n\
             location = /text.git/info/refs {{ default_type text/plain; return 200 'a page'; }}\n\
             location ~ ^/bearer(?<path>/.*)$ {{ if ($http_authorization != 'Bearer token') {{ add_header WWW-Authenticate \
             'Bearer realm=git' always; return 401; }} {pass} }}\n\
             location ~ ^/private(?<path>/.*)$ {{ auth_basic git; auth_basic_user_file {folder_text}/users; {pass} }}\n\
             location ~ ^(?<path>/.*)$ {{ {pass} }}"
        );
        let nginx = Nginx::start(folder, &directives).await;
        Self { plain: nginx.address(), secure, ca: ca.pem().to_owned(), _nginx: nginx, _backend: backend }
    }

    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }

    pub(crate) fn plain(&self) -> String {
        format!("http://{}", self.plain)
    }

    /// The setup of who binds `path`, its address, and the lines that go with it in a manifest.
    pub(crate) fn binding(
        &self,
        setup: Setup,
        path: &str,
        secure: Secure,
        token: Option<&str>,
    ) -> (Setup, String, String) {
        let mut lines = String::new();
        if let Some(token) = token {
            setup.secret("token", format!("{token}\n"));
            lines.push_str("token = \"token\"\n");
        }
        let roots = setup.write("ca.pem", &self.ca);
        let (setup, origin) = match secure {
            Secure::No => (setup, self.plain()),
            Secure::Roots => {
                lines.push_str("ca = \"ca.pem\"\n");
                (setup, self.secure())
            }
            Secure::System => (setup.environment("SSL_CERT_FILE", roots), self.secure()),
        };
        (setup, format!("{origin}{path}"), lines)
    }

    /// By the name that its certificate is for.
    pub(crate) fn secure(&self) -> String {
        format!("https://localhost:{}", self.secure.port())
    }
}

/// Whether by TLS, and in whom one trusts there.
pub(crate) enum Secure {
    No,
    /// The binding's `ca`.
    Roots,
    /// The system's roots, which `SSL_CERT_FILE` names.
    System,
}

/// Where git keeps its programs.
fn programs() -> PathBuf {
    let output = std::process::Command::new("git").arg("--exec-path").output().expect("git is installed");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end())
}
