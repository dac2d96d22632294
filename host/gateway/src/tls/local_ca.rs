//! A certification authority of this machine alone, for names that no public one would sign: `localhost`, and whole sets
//! of domains tried on a laptop. Its key stays in its folder; it signs leaves for servers, and only for names that
//! somebody else admits.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use x509_parser::prelude::FromDer;

use super::{Certificate, CertificateError};

/// Leaves that are kept; the one unused for longest makes room.
const LEAVES: usize = 1000;

const DAY: Duration = Duration::from_hours(24);
const ROOT_LIFE: Duration = DAY.saturating_mul(3650);
const LEAF_LIFE: Duration = DAY.saturating_mul(90);
/// A leaf, or the root, is made anew when this little is left of it.
const LEAF_REST: Duration = DAY.saturating_mul(7);
const ROOT_REST: Duration = DAY.saturating_mul(100);

const LOCALHOST: &str = "localhost";

/// Decides which names get a certificate.
pub trait Admits: Send + Sync + 'static {
    /// Whether this host would answer for `name`; none where that can't be told just now: then none is made.
    fn admits<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<bool>>;
}

#[derive(Debug, thiserror::Error)]
pub enum LocalCaError {
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("{}: not the key of a local certification authority; without the file, a new one is made", file.display())]
    Key { file: PathBuf },
    #[error("can't make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("made a certificate that can't be served: {0}")]
    Leaf(#[from] CertificateError),
    #[error("made a key that can't sign: {0}")]
    Sign(#[from] rustls::Error),
}

/// The authority, and the leaves that it signed since the start.
pub struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    root: String,
    admits: Arc<dyn Admits>,
    leaves: RwLock<HashMap<Box<str>, Leaf>>,
    uses: AtomicU64,
}

struct Leaf {
    certificate: Arc<Certificate>,
    used: AtomicU64,
}

impl LocalCa {
    /// The authority whose key lies in `folder`, which is made where it is missing: `key.pem`, for the owner alone, and
    /// `root.pem` for whoever shall trust it. Without a key a new authority is made; without its root, or where that is
    /// about to end, a new root for the same key.
    pub fn open(folder: &Path, admits: Arc<dyn Admits>, now: SystemTime) -> Result<Self, LocalCaError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        let key = key(&folder.join("key.pem"))?;
        let params = authority(&key, now)?;
        let root = root(&folder.join("root.pem"), &key, &params, now)?;
        let leaves = RwLock::default();
        Ok(Self { issuer: Issuer::new(params, key), root, admits, leaves, uses: AtomicU64::new(0) })
    }

    /// The root as PEM, for those who shall trust what is signed here.
    pub fn root_pem(&self) -> &str {
        &self.root
    }

    /// A certificate for the name that a client asked for, or, where it asked for none, for the loopback address that it
    /// connected to. `None` where there shall be none.
    pub async fn certificate(
        &self,
        name: Option<&str>,
        local: IpAddr,
        now: SystemTime,
    ) -> Result<Option<Arc<Certificate>>, LocalCaError> {
        let name = match name {
            Some(name) => name,
            None if local == Ipv4Addr::LOCALHOST || local == Ipv6Addr::LOCALHOST => LOCALHOST,
            None => return Ok(None),
        };
        // Before one that was made: the name may be nobody's by now.
        let admitted = if name == LOCALHOST { Some(true) } else { self.admits.admits(name).await };
        if admitted == Some(false) {
            return Ok(None);
        }
        if let Some(certificate) = self.kept(name, now) {
            return Ok(Some(certificate));
        }
        if admitted.is_none() {
            return Ok(None);
        }
        let certificate = Arc::new(self.issue(name, now)?);
        self.keep(name, certificate.clone());
        Ok(Some(certificate))
    }

    fn kept(&self, name: &str, now: SystemTime) -> Option<Arc<Certificate>> {
        let leaves = self.leaves.read().unwrap_or_else(PoisonError::into_inner);
        let leaf = leaves.get(name).filter(|leaf| now + LEAF_REST < leaf.certificate.ends())?;
        leaf.used.store(self.uses.fetch_add(1, Relaxed), Relaxed);
        Some(leaf.certificate.clone())
    }

    fn keep(&self, name: &str, certificate: Arc<Certificate>) {
        let mut leaves = self.leaves.write().unwrap_or_else(PoisonError::into_inner);
        if leaves.len() >= LEAVES && !leaves.contains_key(name) {
            let oldest = leaves.iter().min_by_key(|(_, leaf)| leaf.used.load(Relaxed)).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| leaves.remove(&oldest));
        }
        let used = AtomicU64::new(self.uses.fetch_add(1, Relaxed));
        leaves.insert(name.into(), Leaf { certificate, used });
    }

    fn issue(&self, name: &str, now: SystemTime) -> Result<Certificate, LocalCaError> {
        let mut names = vec![name.to_owned()];
        if name == LOCALHOST {
            names.extend([Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()]);
        }
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "Atoll");
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(now - DAY);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(now + LEAF_LIFE);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = aws_lc_rs::sign::any_supported_type(&key)?;
        Ok(Certificate::new(vec![leaf.into()], key)?)
    }
}

fn key(file: &Path) -> Result<KeyPair, LocalCaError> {
    match fs::read_to_string(file) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(|_| LocalCaError::Key { file: file.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate()?;
            write(file, &key.serialize_pem(), 0o600)?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(LocalCaError::Key { file: file.into() }),
        Err(error) => Err(at(file)(error)),
    }
}

/// As it was, where it is this key's and lasts; else made anew.
fn root(file: &Path, key: &KeyPair, params: &CertificateParams, now: SystemTime) -> Result<String, LocalCaError> {
    if let Ok(pem) = fs::read_to_string(file)
        && is_root_of(&pem, key, now)
    {
        return Ok(pem);
    }
    let pem = params.self_signed(key)?.pem();
    write(file, &pem, 0o644)?;
    Ok(pem)
}

fn is_root_of(pem: &str, key: &KeyPair, now: SystemTime) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
        return false;
    };
    let Ok((_, root)) = x509_parser::certificate::X509Certificate::from_der(&der) else {
        return false;
    };
    let rest = since_1970(now + ROOT_REST).as_secs();
    let lasts = u64::try_from(root.validity().not_after.timestamp()).is_ok_and(|ends| rest < ends);
    lasts && root.public_key().raw == key.subject_public_key_info()
}

/// The name follows from the key: two authorities never have the same.
fn authority(key: &KeyPair, now: SystemTime) -> Result<CertificateParams, LocalCaError> {
    let mut params = CertificateParams::new(Vec::new())?;
    let id = params.key_identifier(key).first_chunk().map_or(0, |id| u32::from_be_bytes(*id));
    params.distinguished_name.push(DnType::CommonName, format!("Atoll local authority {id:08x}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(now - DAY);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(now + ROOT_LIFE);
    Ok(params)
}

/// Whole or not at all, and never readable by others in between.
fn write(file: &Path, contents: &str, mode: u32) -> Result<(), LocalCaError> {
    let new = file.with_extension("new");
    let begin = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        open.write_all(contents.as_bytes())?;
        open.sync_all()?;
        fs::rename(&new, file)
    };
    begin().map_err(at(file))
}

fn at(file: &Path) -> impl Fn(io::Error) -> LocalCaError {
    move |source| LocalCaError::File { file: file.into(), source }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
