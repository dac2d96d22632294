//! What a site of several names answers before and after it was moved here from nginx, as the README says how: the same,
//! but for what is written down below.

use http::Response;

use crate::support::{
    ca::Ca,
    client::{Client, Protocol, Reply},
    host::Setup,
    nginx::Nginx,
    skip::missing,
    tables,
    upstream::{Upstream, whole},
};

/// The `server`s of the site that is moved: two of files, one of them an app that draws its own pages; one that is proxied;
/// and one that is another's name.
const OLD: &str = r#"
include /etc/nginx/mime.types; charset utf-8;
ssl_certificate all.pem; ssl_certificate_key all.key;
server {
  listen LISTEN ssl http2; server_name www.example.test;
  return 301 https://example.test$request_uri;
}
server {
  listen LISTEN ssl http2; server_name example.test; root site;
  error_page 404 /404.html;
  try_files $uri $uri.html $uri/ =404;
  location /assets/ { add_header Cache-Control "public, max-age=31536000, immutable"; }
  location = /old { return 301 /about; }
  rewrite ^/posts/(.*)$ /blog/$1 permanent;
  location /private/ { return 403; }
  add_header X-Frame-Options DENY;
  absolute_redirect off;
}
server {
  listen LISTEN ssl http2; server_name app.example.test; root app;
  location / { try_files $uri /index.html; }
  location /api/ {
    proxy_pass http://UPSTREAM/; proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;
  }
}
server {
  listen LISTEN ssl http2; server_name wiki.example.test;
  location / {
    proxy_pass http://UPSTREAM; proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;
    proxy_hide_header X-Powered-By;
  }
}
"#;

/// What it becomes: the files of the routes branch.
const ROUTES: &[(&str, &str)] = &[
    ("www.example.test.toml", "redirect = { to = \"https://example.test\", status = 301 }\n"),
    ("example.test.toml", "upstream = \"site\"\n[[path]]\nprefix = \"/private\"\nrefuse = 403\n"),
    (
        "app.example.test.toml",
        "upstream = \"app\"\n[[path]]\nprefix = \"/api\"\nupstream = \"backend\"\nstrip = true\n",
    ),
    ("wiki.example.test.toml", "upstream = \"backend\"\n[response]\nremove = [\"X-Powered-By\"]\n"),
];

/// The same files for both, and what stands beside them here.
const FILES: &[(&str, &str)] = &[
    ("site/index.html", "<h1>Example</h1>\n"),
    ("site/about.html", "<h1>About</h1>\n"),
    ("site/404.html", "<h1>Not here</h1>\n"),
    ("site/blog/index.html", "<h1>Blog</h1>\n"),
    ("site/blog/first.html", "<h1>First</h1>\n"),
    ("site/assets/main.css", "body { margin: 0 }\n"),
    ("site/robots.txt", "User-agent: *\n"),
    ("app/index.html", "<div id=app></div>\n"),
    ("app/assets/app.js", "console.log(1)\n"),
];
const RULES: &[(&str, &str)] = &[
    ("site/_redirects", "/old /about 301\n/posts/* /blog/:splat 301\n"),
    (
        "site/_headers",
        "/*\n  X-Frame-Options: DENY\n/assets/*\n  ! X-Frame-Options\n  Cache-Control: public, max-age=31536000, immutable\n",
    ),
    ("app/_redirects", "/* /index.html 200\n"),
];

/// What is compared: status, type, where it leads, two fields, the body.
fn seen(reply: &Reply) -> String {
    let field = |name| reply.field(name).unwrap_or("-");
    let kind = field("content-type").split(';').next().unwrap_or_default();
    let (to, frame, by) = (field("location"), field("x-frame-options"), field("x-powered-by"));
    // A redirect's body, and a refusal's, is the server's own.
    let body = if matches!(reply.status.as_u16(), 200 | 404) { reply.brief().1 } else { "-" };
    let kind = if body == "-" { "-" } else { kind };
    format!("{} {kind} {to} {frame} {by} {body:?}", reply.status.as_u16())
}

#[tokio::test]
async fn a_site_that_is_moved_answers_as_before() {
    if missing(&["nginx"]) {
        return;
    }
    let backend = Upstream::start(Protocol::Http1, |seen| {
        let told = |name| seen.fields.get(name).map_or("-", |value| value.to_str().unwrap());
        let said = format!("{} of {} by {}", seen.target, told("host"), told("x-forwarded-proto"));
        let response = Response::builder().header("content-type", "text/plain").header("x-powered-by", "x");
        response.body(whole(said)).unwrap()
    })
    .await;
    let ca = Ca::new("an old one");
    let folder = |name: &str| {
        format!(
            "[git.{name}]\nremote = \"{name}/\"\n[component.{name}]\npath = \"{}\"\n\
             git = {{ pages = {{ from = \"{name}\", mode = \"read\" }} }}\n",
            crate::support::guests::component("site").display()
        )
    };
    let manifest = [
        folder("site"),
        folder("app"),
        tables::router(),
        tables::upstream("backend", backend.address()),
        "[[certificate]]\nchain = \"all.pem\"\nkey = \"all.key\"\n".to_owned(),
    ];
    let setup = Setup::new(&manifest.concat());
    ca.issue(&["example.test", "*.example.test"]).write(&setup.path(""), "all");
    for (name, text) in FILES.iter().chain(RULES) {
        setup.write(name, text);
    }
    setup.repository("routes").commit("main", ROUTES);
    let nginx = Nginx::serving(&setup.path(""), |address| {
        OLD.replace("LISTEN", &address.to_string()).replace("UPSTREAM", &backend.address().to_string())
    })
    .await;
    let host = setup.start().await;
    let (old, new) = (Client::new(nginx.address(), ca.pem()), Client::new(host.https(), ca.pem()));
    for (url, differs) in [
        ("www.example.test/about?x=1", None),
        ("example.test/", None),
        ("example.test/index.html", None),
        ("example.test/about", None),
        ("example.test/about.html", None),
        ("example.test/blog/", None),
        ("example.test/blog/first", None),
        ("example.test/assets/main.css", None),
        ("example.test/robots.txt", None),
        ("example.test/private/x", None),
        // What was asked with is kept.
        ("example.test/blog", Some("308 - /blog/ - - \"-\"")),
        // nginx adds fields to its own redirects, but not to its pages of errors.
        ("example.test/old", Some("301 - /about - - \"-\"")),
        ("example.test/posts/first?x=y", Some("301 - /blog/first?x=y - - \"-\"")),
        ("example.test/nothing", Some("404 text/html - DENY - \"<h1>Not here</h1>\\n\"")),
        ("example.test/assets/nothing.css", None),
        ("app.example.test/", None),
        ("app.example.test/users/7?x", None),
        // Its name in RFC 9239.
        ("app.example.test/assets/app.js", Some("200 text/javascript - - - \"console.log(1)\\n\"")),
        ("app.example.test/api/things?x=1", None),
        ("wiki.example.test/a/b?c", None),
    ] {
        let url = format!("https://{url}");
        let (before, after) = (seen(&old.get(&url).await), seen(&new.get(&url).await));
        match differs {
            None => assert_eq!(after, before, "{url}"),
            Some(differs) => assert!(after == differs && before != after, "{url}: {after}, and before {before}"),
        }
    }
}
