//! Pushes of which something goes wrong once the origin may have taken them: what is said of each is what became of it.

use std::fs;

use super::{
    pushes::{author, commit, later, stage, write},
    support::{Room, fetch},
};
use crate::Fetched;

#[test]
fn what_is_published_and_cannot_be_taken_in_is_said() {
    let room = Room::new();
    let remote = room.remote("site.git", &[("a", "one")]).at("main");
    let pages = room.pages();
    let mut staging = stage(&pages, &remote);
    let blob = write(&mut staging, "b", b"two");
    let head = pages.head();
    // A file where a directory has to be: root is refused too.
    let directory = room.path.join("state/git/pages.git/objects").join(&blob.to_string()[..2]);
    fs::write(&directory, "").unwrap();
    let committed = staging.commit(&author(), "ours", later()).unwrap();
    let id = committed.id.unwrap();
    assert_eq!(
        committed.warnings,
        [format!(
            "{id} is published and not here yet: the head {id} of what was staged cannot be copied: the object cannot be \
             written: Not a directory (os error 20)"
        )]
    );
    assert_eq!(room.script("git -C site.git rev-parse main"), format!("{id}\n"));
    assert_eq!(pages.head(), head);
    fs::remove_file(directory).unwrap();
    assert!(matches!(fetch(&pages, &remote).unwrap(), Fetched::Moved { revision, .. } if revision.id == id));
    assert_eq!(commit(stage(&pages, &remote), "nothing").unwrap(), Some(id));
}
