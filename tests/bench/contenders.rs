//! Who is measured: this host, nginx and h2o, each with the same files, certificate and upstream on a loopback port of its
//! own; no access log, no compression, as many workers as there are cores, connections kept without end.

use std::{
    fs,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::{
    dial::Dialler,
    support::{
        ca::{Ca, Pair},
        git::{Item, Repository},
        host::{Host, Setup},
        tables,
        upstream::dead,
    },
};

/// The name whose files are served, and the one that is passed on to the upstream.
pub(crate) const SITE: &str = "site.bench.test";
pub(crate) const PROXIED: &str = "proxied.bench.test";

/// What all of them serve.
pub(crate) struct Place {
    folder: TempDir,
    pair: Pair,
    pub(crate) ca: Ca,
    pub(crate) dialler: Dialler,
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
}

/// One that runs; it is ended when it is dropped.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) process: u32,
    keep: Keep,
}

enum Keep {
    Ours(Box<Host>),
    Peer { _peer: Peer },
}

/// A server that is not ours, with its workers.
pub(crate) struct Peer {
    child: Child,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ca = Ca::new("bench");
        let pair = ca.issue(&["*.bench.test"]);
        pair.write(folder.path(), "bench");
        let mut noise = Noise(1);
        let files = vec![
            ("index.html", noise.text(2000)),
            ("404.html", noise.text(1024)),
            ("1k.html", noise.text(1024)),
            ("100k.html", noise.text(100 * 1024)),
            ("10m.bin", noise.bytes(10 * 1024 * 1024)),
        ];
        fs::create_dir(folder.path().join("www")).expect("the folder is ours");
        for (name, bytes) in &files {
            fs::write(folder.path().join("www").join(name), bytes).expect("the folder is ours");
        }
        let dialler = Dialler::new(&ca);
        Self { folder, pair, ca, dialler, files }
    }

    pub(crate) fn www(&self) -> PathBuf {
        self.folder.path().join("www")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The bytes of a file.
    pub(crate) fn file(&self, name: &str) -> &[u8] {
        &self.files.iter().find(|file| file.0 == name).expect("a file of the place").1
    }

    /// This host with its router and its site, ready to be started; further `lines` are added to its manifest.
    pub(crate) fn setup(&self, upstream: SocketAddr, lines: &str) -> (Setup, Repository) {
        let manifest = [
            lines,
            "[limits]\naddress-connections = 20000\n[log]\naccess = \"off\"\n[[certificate]]\nchain = \"bench.pem\"\nkey = \"bench.key\"\n",
            &tables::site("site"),
            &tables::router(),
            &tables::upstream("app", upstream),
        ];
        let setup = Setup::new(&manifest.concat());
        self.pair.write(&setup.path(""), "bench");
        let site = setup.repository("site");
        let items: Vec<_> = self.files.iter().map(|(name, bytes)| (*name, Item::File(bytes))).collect();
        site.commit_items("main", &items);
        let old = "[[path]]\nprefix = \"/old\"\nredirect = { to = \"/new\" }\n";
        let routes = [
            (format!("{SITE}.toml"), format!("upstream = \"site\"\n{old}")),
            (format!("{PROXIED}.toml"), "upstream = \"app\"\n".to_owned()),
        ];
        let routes: Vec<_> = routes.iter().map(|(name, text)| (&**name, &**text)).collect();
        setup.repository("routes").commit("main", &routes);
        (setup, site)
    }

    pub(crate) async fn nginx(&self, upstream: SocketAddr) -> anyhow::Result<Contender> {
        let address = dead();
        self.peer("nginx", address, nginx(&self.nginx_settings(address, upstream)?)).await
    }

    pub(crate) async fn h2o(&self, upstream: SocketAddr) -> anyhow::Result<Contender> {
        let address = dead();
        self.peer("h2o", address, h2o(&self.h2o_settings(address, upstream)?)).await
    }

    /// nginx's configuration, a file.
    pub(crate) fn nginx_settings(&self, address: SocketAddr, upstream: SocketAddr) -> anyhow::Result<PathBuf> {
        let pair = format!("ssl_certificate {0}.pem; ssl_certificate_key {0}.key;", self.path("bench").display());
        let listen = format!("listen {address} ssl http2 backlog=4096; {pair}");
        let www = self.www();
        let servers = format!(
            "upstream app {{ server {upstream}; keepalive 1024; keepalive_requests 100000000; }}\n\
             server {{ {listen} server_name {SITE}; root {}; error_page 404 /404.html;\n\
             location ~ ^/old/(.*)$ {{ return 308 /new/$1; }} }}\n\
             server {{ listen {address} ssl http2; server_name {PROXIED}; location / {{ proxy_pass http://app; }} }}\n",
            www.display()
        );
        self.nginx_server("nginx", cores(), &servers)
    }

    /// What requests are passed on to: an nginx with one worker, over plain HTTP/1.1.
    pub(crate) async fn upstream(&self) -> anyhow::Result<Contender> {
        let address = dead();
        let servers = format!(
            "server {{ listen {address} backlog=4096; root {}; open_file_cache max=100; }}\n",
            self.www().display()
        );
        let file = self.nginx_server("upstream", 1, &servers)?;
        let peer = Peer::spawn(nginx(&file))?;
        let process = peer.id();
        let contender = Contender { name: "upstream", address, process, keep: Keep::Peer { _peer: peer } };
        wait(|| async { Ok(tokio::net::TcpStream::connect(address).await.map(drop)?) }).await?;
        Ok(contender)
    }

    /// h2o's configuration, a file.
    pub(crate) fn h2o_settings(&self, address: SocketAddr, upstream: SocketAddr) -> anyhow::Result<PathBuf> {
        let (ip, port) = (address.ip(), address.port());
        let pair = self.path("bench");
        let pair = pair.display();
        let ssl = format!(
            "{{host: {ip}, port: {port}, ssl: {{certificate-file: {pair}.pem, key-file: {pair}.key, ocsp-update-interval: 0}}}}"
        );
        let user = if rustix::process::geteuid().is_root() { "user: root\n" } else { "" };
        let here = self.folder.path().display();
        let text = format!(
            "{user}num-threads: {}\nmax-connections: 16384\npid-file: {here}/h2o.pid\nerror-log: {here}/h2o.log\n\
             http1-request-timeout: 120\nhttp2-idle-timeout: 120\nlisten: {ssl}\nhosts:\n  \
             \"{SITE}\":\n    paths:\n      \"/old\": {{redirect: {{status: 308, url: /new}}}}\n      \
             \"/\": {{file.dir: {here}/www}}\n    error-doc: {{status: 404, url: /404.html}}\n  \
             \"{PROXIED}\":\n    paths:\n      \"/\": {{proxy.reverse.url: \"http://{upstream}/\", proxy.preserve-host: ON, \
             proxy.timeout.keepalive: 60000}}\n",
            cores()
        );
        let file = self.path("h2o.conf");
        fs::write(&file, text)?;
        Ok(file)
    }

    fn nginx_server(&self, name: &str, workers: usize, servers: &str) -> anyhow::Result<PathBuf> {
        let here = self.path(name);
        fs::create_dir_all(&here)?;
        let user = if rustix::process::geteuid().is_root() { "user root; " } else { "" };
        let here = here.display();
        let text = format!(
            "{user}daemon off; worker_processes {workers}; pid {here}/pid; error_log {here}/log warn; worker_rlimit_nofile 20000;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ types {{ text/html html; }} default_type application/octet-stream;\n\
             access_log off; sendfile on; tcp_nopush on; keepalive_timeout 300; keepalive_requests 100000000;\n\
             client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f;\n\
             uwsgi_temp_path {here}/u; scgi_temp_path {here}/s; ssl_protocols TLSv1.2 TLSv1.3;\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https;\n\
             proxy_buffers 8 16k; proxy_max_temp_file_size 0;\n{servers}}}\n"
        );
        let file = self.path(&format!("{name}.conf"));
        fs::write(&file, text)?;
        Ok(file)
    }

    async fn peer(&self, name: &'static str, address: SocketAddr, command: Command) -> anyhow::Result<Contender> {
        let peer = Peer::spawn(command)?;
        let contender = Contender { name, address, process: peer.id(), keep: Keep::Peer { _peer: peer } };
        wait(|| self.answers(address)).await.with_context(|| format!("{name} did not start"))?;
        Ok(contender)
    }

    /// One whole answer over a connection of its own.
    pub(crate) async fn answers(&self, address: SocketAddr) -> anyhow::Result<()> {
        let answer = self.dialler.connect(address, SITE).await?.get(SITE, "/1k.html").await?;
        anyhow::ensure!(answer.status == 200 && answer.body == self.file("1k.html"), "status {}", answer.status);
        Ok(())
    }
}

impl Contender {
    pub(crate) async fn ours(name: &'static str, setup: Setup) -> Self {
        let host = setup.start().await;
        Self { name, address: host.https(), process: host.id(), keep: Keep::Ours(Box::new(host)) }
    }

    /// The host, where it is ours.
    pub(crate) fn host(&self) -> &Host {
        match &self.keep {
            Keep::Ours(host) => host,
            Keep::Peer { .. } => unreachable!("asked of ours alone"),
        }
    }
}

impl Peer {
    pub(crate) fn spawn(mut command: Command) -> anyhow::Result<Self> {
        // A group of its own: ^C is ours to pass on.
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = quiet.spawn().with_context(|| format!("{} is not installed", command.get_program().display()))?;
        Ok(Self { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        // Not by SIGKILL alone: nginx's workers would outlive it.
        let _ = kill_process(id, Signal::TERM);
        let end = Instant::now() + Duration::from_secs(1);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = kill_process_group(id, Signal::KILL);
        let _ = self.child.wait();
    }
}

pub(crate) fn nginx(file: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(file.parent().expect("in a folder")).arg("-c").arg(file);
    command
}

pub(crate) fn h2o(file: &Path) -> Command {
    let mut command = Command::new("h2o");
    command.args(["-m", "worker", "-c"]).arg(file);
    command
}

/// What the host takes by itself, so the others get as many.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

async fn wait<F: Future<Output = anyhow::Result<()>>>(mut ask: impl FnMut() -> F) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match ask().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Contents without meaning, the same each time (splitmix64).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(length).collect()
    }

    pub(crate) fn text(&mut self, length: usize) -> Vec<u8> {
        self.bytes(length).into_iter().map(|byte| b"abcdefghijklmnopqrstuvwxyz \n"[usize::from(byte) % 28]).collect()
    }
}
