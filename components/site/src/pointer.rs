//! Git LFS pointers: files that stand in for others, which are not in the branch.

/// Whether a file of this size can be one: the specification keeps them below 1,024 bytes.
pub(crate) fn possible(size: u64) -> bool {
    size < 1024
}

/// Whether `contents` are one: its first line is the key `version` and the URL of the specification.
pub(crate) fn is_pointer(contents: &[u8]) -> bool {
    contents.starts_with(b"version https://git-lfs.github.com/spec/v1\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_by_its_first_line() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
        assert!(possible(pointer.len() as u64) && is_pointer(pointer));
        assert!(!is_pointer(b"version https://git-lfs.github.com/spec/v1"));
        assert!(!is_pointer(b"\nversion https://git-lfs.github.com/spec/v1\n"));
        assert!(!is_pointer(b""));
        assert!(possible(1023) && !possible(1024));
    }
}
