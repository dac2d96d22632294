//! The end-to-end tests: the real program, driven over real sockets, real TLS and real Git, with real components under
//! wasmtime. One file a subject; what they stand on is in `support`. Nothing here reads the program's insides.

#![allow(clippy::unwrap_used, reason = "the whole crate is tests")]

mod code_rules;
mod commands;
mod crowds;
mod egress;
mod encoding;
mod faults;
mod first_run;
mod git_addresses;
mod git_agent;
mod git_hooks;
mod git_kills;
mod git_push;
mod git_push_faults;
mod git_servers;
mod git_ssh;
mod h2spec;
mod http1;
mod http2;
mod keygen;
mod limits;
mod listeners;
mod manifest;
mod memory;
mod moving;
mod proxies;
mod push;
mod reload;
mod reload_under_load;
mod renewal;
mod repositories;
mod roles;
mod routing;
mod scripts;
mod secrets;
mod shutdown;
mod site;
mod site_types;
mod slow;
mod starts;
mod support;
mod swap;
mod tls;
mod tls_audit;
mod trailers;
mod tunnels;
mod turns;
mod upgrade;
mod uploads;
mod upstream_faults;
mod upstream_siblings;
mod upstream_times;
mod upstreams;
mod windows;
