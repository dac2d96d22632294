//! `_headers` and `_redirects`, in the syntax of Cloudflare Pages. Lines that can't be used are told by `validate`; what
//! serves was proved, and leaves such lines out.

pub(crate) mod headers;
pub(crate) mod pattern;
pub(crate) mod redirects;
pub(crate) mod template;

/// The lines of a file that say something, with their number counted from 0.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let meaningful = |(_, line): &(usize, &str)| !line.is_empty() && !line.starts_with('#');
    text.lines().map(str::trim).enumerate().filter(meaningful)
}
