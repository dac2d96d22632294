//! Where a redirect leads, and whether we go there: to the same host as a matter of course; to another only where it can
//! be reached by anybody and no credentials could go along; never from TLS to none, and never to anything but a repository.

use std::io;

use atoll_net::{Egress, Host, Origin, Place, Protocol, Tls, is_public};
use http::Uri;

use super::{super::Service, Base};
use atoll_send_pack::shown;

/// The base that `location` means, as the answer to the first request for `base`.
pub(super) fn follow(base: &Base, location: &str, service: Service, secret: bool) -> io::Result<Base> {
    let no =
        |what: &str| io::Error::other(format!("the server redirects to \"{}\", {what}", shown(location.as_bytes())));
    let secure = base.origin.target().tls.as_ref();
    let absolute = absolute(base, location);
    let uri: Uri = absolute.parse().map_err(|_| no("which is no URL"))?;
    let tail = format!("/info/refs?service={}", service.name());
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let Some(path) = target.strip_suffix(&tail) else { return Err(no("which is no repository")) };
    // Not used where there is no TLS.
    let tls = secure.cloned().unwrap_or_else(|| Tls::system(&atoll_net::SystemRoots::default(), atoll_net::HTTP));
    let origin = |egress| Origin::new(&uri, Protocol::Http1, &tls, egress).map_err(|_| no("which is no repository"));
    let there = origin(base.origin.target().egress)?;
    if there == base.origin {
        return Ok(Base { origin: there, path: path.to_owned() });
    }
    if secure.is_some() && there.target().tls.is_none() {
        return Err(no("without TLS; it is not followed"));
    }
    if secret {
        return Err(no("where the token must not go; name that one as the remote, if it is right"));
    }
    let host = |origin: &Origin| origin.authority().host().to_owned();
    if host(&there) == host(&base.origin) {
        return Ok(Base { origin: there, path: path.to_owned() });
    }
    let there = origin(Egress::Public)?;
    if let Place::Tcp { host, .. } = &there.target().place {
        let inside = match host {
            Host::Address(address) => !is_public(*address),
            Host::Name(name) => &**name == "localhost",
        };
        if inside {
            return Err(no("where a stranger may not send us"));
        }
    }
    Ok(Base { origin: there, path: path.to_owned() })
}

/// What `location` is beside the address that was asked, `BASE/info/refs` (RFC 3986, section 5.2).
fn absolute(base: &Base, location: &str) -> String {
    let scheme = location.split_once(':').map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    // Of nothing nobody would know what it leads to.
    if location.is_empty() || scheme.is_some_and(is_scheme) {
        return location.to_owned();
    }
    if location.starts_with("//") {
        return format!("{}:{location}", base.origin.scheme());
    }
    let (path, query) = location.split_at(location.find(['?', '#']).unwrap_or(location.len()));
    let path = match path {
        "" => format!("{}/info/refs", base.path),
        _ if path.starts_with('/') => without_dots(path),
        _ => without_dots(&format!("{}/info/{path}", base.path)),
    };
    format!("{}{path}{query}", base.origin)
}

/// Section 5.2.4, of a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if segments.peek().is_none() {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use atoll_net::{HTTP, SystemRoots};

    use super::*;

    #[test]
    fn redirects_that_are_followed_and_that_are_not() {
        const TAIL: &str = "/info/refs?service=git-upload-pack";
        let tls = Tls::system(&SystemRoots::default(), HTTP);
        for (from, to, secret, expected) in [
            ("https://a.test", "/x.git", true, Ok(("https://a.test/x.git", Egress::Any))),
            ("https://a.test", "https://a.test/x.git", true, Ok(("https://a.test/x.git", Egress::Any))),
            ("https://a.test", "https://A.test:443/x.git", true, Ok(("https://a.test/x.git", Egress::Any))),
            ("https://a.test", "https://b.test/x", false, Ok(("https://b.test/x", Egress::Public))),
            ("http://a.test", "https://a.test/x", false, Ok(("https://a.test/x", Egress::Any))),
            ("http://a.test", "http://127.0.0.1/x", false, Err("where a stranger may not send us")),
            ("http://a.test", "http://[::ffff:10.0.0.1]/x", false, Err("where a stranger may not send us")),
            ("http://a.test", "http://localhost/x", false, Err("where a stranger may not send us")),
            ("http://127.0.0.1", "http://127.0.0.1:81/x", false, Ok(("http://127.0.0.1:81/x", Egress::Any))),
            (
                "https://a.test",
                "https://b.test/x",
                true,
                Err("where the token must not go; name that one as the remote, if it is right"),
            ),
            (
                "https://a.test",
                "https://a.test:444/x",
                true,
                Err("where the token must not go; name that one as the remote, if it is right"),
            ),
            ("https://a.test", "http://a.test/x", false, Err("without TLS; it is not followed")),
            ("https://a.test", "file:///etc", false, Err("which is no URL")),
            ("https://a.test", "//b.test/x", false, Ok(("https://b.test/x", Egress::Public))),
            ("http://a.test", "//a.test:81/x", false, Ok(("http://a.test:81/x", Egress::Any))),
            ("https://a.test", "https://b.test/\x1b", false, Err("which is no URL")),
            ("https://a.test", "y.git", true, Ok(("https://a.test/x/info/y.git", Egress::Any))),
            ("https://a.test", "../../y.git", true, Ok(("https://a.test/y.git", Egress::Any))),
            ("https://a.test:81", "../../../../y:1.git", true, Ok(("https://a.test:81/y:1.git", Egress::Any))),
            ("https://a.test", "./.././../y/./z.git", true, Ok(("https://a.test/y/z.git", Egress::Any))),
            ("https://a.test", "/y/../z.git", true, Ok(("https://a.test/z.git", Egress::Any))),
        ] {
            let origin = Origin::new(&from.parse().unwrap(), Protocol::Http1, &tls, Egress::Any).unwrap();
            let base = Base { origin, path: "/x".into() };
            let location = format!("{to}{TAIL}");
            let found = follow(&base, &location, Service::UploadPack, secret);
            let found = found.map(|base| (format!("{}{}", base.origin, base.path), base.origin.target().egress));
            let found = found.map_err(|error| error.to_string());
            let shown = shown(location.as_bytes());
            let expected = expected
                .map(|(url, egress): (&str, _)| (url.to_owned(), egress))
                .map_err(|what| format!("the server redirects to \"{shown}\", {what}"));
            assert_eq!(found, expected, "{from} {to}");
        }
    }

    /// RFC 3986, section 5.4: what stands beside `http://a/b/c/d;p?q` there, here beside an address of our form.
    #[test]
    fn what_is_relative_is_beside_what_was_asked() {
        let tls = Tls::system(&SystemRoots::default(), HTTP);
        let origin = Origin::new(&"http://a".parse().unwrap(), Protocol::Http1, &tls, Egress::Any).unwrap();
        let base = Base { origin, path: "/b".into() };
        for (location, expected) in [
            ("g:h", "g:h"),
            ("g", "http://a/b/info/g"),
            ("./g", "http://a/b/info/g"),
            ("g/", "http://a/b/info/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/info/refs?y"),
            ("g?y/../x", "http://a/b/info/g?y/../x"),
            (".", "http://a/b/info/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/info/g."),
            ("..g", "http://a/b/info/..g"),
            ("g;x=1/../y", "http://a/b/info/y"),
            ("1:2", "http://a/b/info/1:2"),
            ("", ""),
        ] {
            assert_eq!(absolute(&base, location), expected, "{location}");
        }
    }

    #[test]
    fn a_redirect_elsewhere_in_the_same_place_is_no_repository() {
        let tls = Tls::system(&SystemRoots::default(), HTTP);
        let origin = Origin::new(&"https://a.test".parse().unwrap(), Protocol::Http1, &tls, Egress::Any).unwrap();
        let error = follow(&Base { origin, path: "/x".into() }, "/login", Service::UploadPack, true).err().unwrap();
        assert_eq!(error.to_string(), "the server redirects to \"/login\", which is no repository");
    }
}
