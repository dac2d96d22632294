//! Following a remote: seen at once by the file watch, by the poll where there is none, and whoever asks.

use std::{
    fmt::Write as _,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use super::support::{Room, files, id, moved};
use crate::{Event, Fetched, Follower, Remote, Repository, Watcher};

/// Longer than any test.
const NEVER: Duration = Duration::from_hours(1);

/// What a follower said, shortened.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn follow(&self, repository: &Repository, remote: &Remote, watcher: &Watcher, poll: Duration) -> Follower {
        let log = self.clone();
        let report = move |event| {
            let line = match event {
                Event::Failed(error) => format!("failed: {error}"),
                event => format!("{event:?}"),
            };
            log.0.lock().unwrap().push(line);
        };
        Follower::start(repository.clone(), remote.clone(), watcher.clone(), poll, report)
    }

    fn said(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Waits until the head is one of which `wanted` is true.
async fn head(repository: &Repository, wanted: impl Fn(&Repository) -> bool) {
    let mut standings = repository.standings();
    let seen = async {
        while !wanted(repository) {
            standings.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("seen within ten seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_pushes_are_each_seen_at_once() {
    let room = Room::new();
    let remote = room.remote("origin", &[("index.html", "0"), ("dir/a", "x"), ("dir/b", "y")]);
    let pages = room.pages();
    let log = Log::default();
    let follower = log.follow(&pages, &remote, &Watcher::default(), NEVER);
    head(&pages, |pages| pages.head().is_some()).await;
    follower.fetch().await.unwrap();

    // The objects first, so that a push is what the last step of Git's is: a ref that is renamed into its place.
    let mut stream = String::new();
    for number in 1..=200 {
        let (contents, length) = (number.to_string(), number.to_string().len());
        let from = if number == 1 { "refs/heads/main^0".to_owned() } else { format!(":{}", number - 1) };
        write!(
            stream,
            "commit refs/heads/{number}\nmark :{number}\ncommitter a <a@b> {number} +0000\ndata 0\nfrom {from}\n\
             M 100644 inline index.html\ndata {length}\n{contents}\n"
        )
        .unwrap();
    }
    room.feed("git -C origin fast-import --quiet", stream.as_bytes());
    let refs = room.path.join("origin/refs/heads");
    for number in 1..=200 {
        fs::copy(refs.join(number.to_string()), refs.join("main.lock")).unwrap();
        let mut standings = pages.standings();
        fs::rename(refs.join("main.lock"), refs.join("main")).unwrap();
        let seen = standings.wait_for(|now| now.head.is_some_and(|head| head.committed == number));
        tokio::time::timeout(Duration::from_secs(2), seen).await.expect("seen within two seconds").unwrap();
    }
    assert_eq!(files(&pages)[2], ("index.html".to_owned(), "200".to_owned()));
    // The last is told after it was seen.
    follower.fetch().await.unwrap();
    assert_eq!(log.said().iter().filter(|line| line.starts_with("Moved")).count(), 201);
    drop(follower);
    pages.settle().unwrap();
    assert_eq!(room.fsck(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_moves_the_branch_is_seen() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "0")]);
    let pages = room.pages();
    let _follower = Log::default().follow(&pages, &remote, &Watcher::default(), NEVER);
    head(&pages, |pages| pages.head().is_some()).await;
    room.script("git clone -q origin clone; git -C origin branch other; git -C clone config push.default current");
    for script in [
        "cd clone; echo 1 >a; git commit -qam 1; git push -q",
        "cd clone; git commit -q --amend -m 2; git push -qf",
        // By an alias of HEAD, packed, and with a new directory of refs.
        "cd origin; git symbolic-ref HEAD refs/heads/other",
        "cd clone; git push -qf origin main:other",
        "cd origin; git symbolic-ref HEAD refs/heads/main; git pack-refs --all; git symbolic-ref HEAD refs/heads/other",
        "cd clone; echo 3 >a; git commit -qam 3; git push -q origin main:other",
        "cd clone; echo 4 >a; git commit -qam 4; git push -q origin main:refs/heads/new/dir/branch; cd ../origin; git symbolic-ref HEAD refs/heads/new/dir/branch",
        "cd clone; echo 5 >a; git commit -qam 5; git push -q origin main:refs/heads/new/dir/branch",
        "cd origin; git pack-refs --all; git gc -q --prune=now",
        "cd clone; echo 6 >a; git commit -qam 6; git push -q origin main:refs/heads/new/dir/branch",
    ] {
        room.script(script);
        let tip = room.script("git -C origin rev-parse HEAD");
        head(&pages, |pages| pages.head().is_some_and(|head| head.id == id(&tip))).await;
    }
    assert_eq!(files(&pages), [("a".to_owned(), "6\n".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_a_new_directory_is_seen() {
    let room = Room::new();
    room.remote("origin", &[("a", "0")]);
    room.script("cd origin; git branch deep/dir/branch; mkdir ../commits");
    for number in 1..=60 {
        room.push("origin", &[("a", &number.to_string())]);
        room.script(&format!("cp origin/refs/heads/main commits/{number}"));
    }
    let pages = room.pages();
    let remote = Remote::local(room.path.join("origin")).at("deep/dir/branch");
    let _follower = Log::default().follow(&pages, &remote, &Watcher::default(), NEVER);
    head(&pages, |pages| pages.head().is_some()).await;
    // As a push does after the refs were packed.
    let deep = room.path.join("origin/refs/heads/deep");
    for number in 1..=60 {
        let commit = room.path.join(format!("commits/{number}"));
        let tip = fs::read_to_string(&commit).unwrap();
        fs::remove_dir_all(&deep).unwrap();
        fs::create_dir_all(deep.join("dir")).unwrap();
        fs::copy(&commit, deep.join("dir/branch.lock")).unwrap();
        fs::rename(deep.join("dir/branch.lock"), deep.join("dir/branch")).unwrap();
        head(&pages, |pages| pages.head().is_some_and(|head| head.id == id(&tip))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_taken_in_when_it_changes() {
    let room = Room::new();
    room.script("mkdir -p site/dir; echo 0 >site/a");
    let pages = room.pages();
    let remote = Remote::local(room.path.join("site"));
    let log = Log::default();
    let follower = log.follow(&pages, &remote, &Watcher::default(), NEVER);
    head(&pages, |pages| pages.head().is_some()).await;
    follower.fetch().await.unwrap();
    for (number, script) in [
        "echo 1 >a",
        "echo 2 >dir/b",
        "mkdir -p new/deep",
        "echo 3 >new/deep/c",
        "chmod +x a",
        "mv dir other",
        "rm -r new",
        "ln -s a link",
        "echo 4 >x; mv x a",
    ]
    .into_iter()
    .enumerate()
    {
        if script.starts_with("mkdir") {
            // Nothing for Git in it, so no new head.
            room.script(&format!("cd site; {script}"));
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let before = pages.head();
        let begun = Instant::now();
        room.script(&format!("cd site; {script}"));
        head(&pages, |pages| pages.head() != before).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{number} {:?}", begun.elapsed());
    }
    // A file on its way may have been seen too.
    let found = |pages: &Repository| {
        files(pages).into_iter().map(|(path, contents)| path + " " + contents.trim()).collect::<Vec<_>>()
    };
    head(&pages, |pages| found(pages) == ["a 4", "link a", "other/b 2"]).await;
    // A burst is one revision, or a few.
    let moved = || log.said().iter().filter(|line| line.starts_with("Moved")).count();
    let before = moved();
    room.script("cd site; for i in $(seq 100); do echo $i >f$i; done");
    head(&pages, |pages| files(pages).len() == 103).await;
    assert!(moved() - before <= 20, "{}", moved() - before);
    // It becomes a repository.
    room.script("cd site; git init -q; git add a; git commit -qm a");
    head(&pages, |pages| files(pages).len() == 1).await;
    room.script("cd site; echo 5 >a; git commit -qam a");
    head(&pages, |pages| files(pages) == [("a".to_owned(), "5\n".to_owned())]).await;
}

/// Links are switched to a new release, folders made anew: by the file watch, whoever else watches the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_the_place_of_another_is_seen() {
    let room = Room::new();
    room.script("mkdir R1 R2; echo 1 >R1/a; echo 2 >R2/a; ln -s R1 current");
    let (store, watcher, log) = (room.store(), Watcher::default(), Log::default());
    let spellings = ["current", "./R1/../current/"];
    let followed: Vec<_> = spellings
        .iter()
        .enumerate()
        .map(|(number, spelling)| {
            let pages = store.repository(&format!("p{number}")).unwrap();
            let follower = log.follow(&pages, &Remote::local(room.path.join(spelling)), &watcher, NEVER);
            (pages, follower)
        })
        .collect();
    for (script, contents) in [
        ("true", "1"),
        ("echo one >R1/a", "one"),
        ("ln -s R2 next; mv -T next current", "2"),
        ("echo two >R2/a", "two"),
        ("mkdir R2/deep; echo x >R2/deep/b; echo three >R2/a", "three"),
        ("ln -s R1 next; mv -T next current", "one"),
        ("rm current; mkdir current; echo four >current/a", "four"),
        ("rm -r current; sleep 0.4; mkdir current; echo five >current/a", "five"),
        ("cd current; git init -q; git add a; git commit -qm 1", "five"),
        ("cd current; echo six >a; git commit -qam 2", "six"),
        ("rm -rf current; mkdir current; echo seven >current/a", "seven"),
    ] {
        println!("{script}");
        room.script(script);
        for (pages, _) in &followed {
            let wanted = [("a".to_owned(), format!("{contents}\n"))];
            head(pages, |pages| pages.head().is_some() && files(pages).starts_with(&wanted)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_watched_is_polled() {
    let room = Room::new();
    let pages = room.pages();
    let path = room.path.join("origin");
    let log = Log::default();
    let follower = log.follow(&pages, &Remote::local(&path), &Watcher::default(), Duration::from_millis(50));
    // It is not there; then it is, without a commit; then with one.
    let error = follower.fetch().await.unwrap_err().to_string();
    assert_eq!(error, format!("{}: there is nothing here; create it, or name another remote", path.display()));
    room.script("git init -q --bare -b main new; mv new origin");
    while log.said().iter().filter(|line| *line == "Watching").count() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(follower.fetch().await.unwrap(), Fetched::Unborn);
    room.push("origin", &[("a", "1")]);
    head(&pages, |pages| pages.head().is_some()).await;
    // Another takes its place: the watch is on the old one.
    room.script("cp -r origin new; git -C new symbolic-ref HEAD refs/heads/main");
    room.push("new", &[("a", "2")]);
    room.script("mv origin old; mv new origin");
    head(&pages, |pages| files(pages)[0].1 == "2").await;
    room.script("git -C origin update-ref -d refs/heads/main");
    let gone = format!("Gone(\"{} has no branch any more\")", path.display());
    while !log.said().contains(&gone) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let said = log.said();
    // Its place is watched before there is anything in it.
    assert_eq!(said[..2], ["Watching".to_owned(), format!("failed: {error}")], "{said:?}");
    // Once more between the two renames, if it was looked for then.
    assert!(said.iter().filter(|line| line.starts_with("failed")).count() <= 2, "{said:?}");
    assert_eq!(said.iter().filter(|line| **line == gone).count(), 1, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_refused_is_told_and_the_poll_goes_on() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "1")]);
    let pages = room.pages();
    let log = Log::default();
    let _follower = log.follow(&pages, &remote, &Watcher::refusing(), Duration::from_millis(20));
    head(&pages, |pages| pages.head().is_some()).await;
    room.push("origin", &[("a", "2")]);
    head(&pages, |pages| files(pages)[0].1 == "2").await;
    let said = log.said();
    let told: Vec<&String> = said.iter().filter(|line| line.starts_with("Polling")).collect();
    assert_eq!(told, ["Polling(\"OS file watch limit reached.\")"], "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_missed_something_is_begun_anew() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "1")]);
    let (pages, log, watcher) = (room.pages(), Log::default(), Watcher::default());
    let follower = log.follow(&pages, &remote, &watcher, NEVER);
    follower.fetch().await.unwrap();
    let begun = || log.said().iter().filter(|line| *line == "Watching").count();
    assert_eq!(begun(), 1);
    follower.fetch().await.unwrap();
    assert_eq!(begun(), 1);
    watcher.complain();
    follower.fetch().await.unwrap();
    assert_eq!(begun(), 2);
    room.push("origin", &[("a", "2")]);
    head(&pages, |pages| files(pages)[0].1 == "2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bindings_share_the_watches_of_one_repository() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "1")]);
    room.script("git -C origin branch dev");
    let (store, watcher) = (room.store(), Watcher::default());
    let [one, two] = ["one", "two"].map(|name| store.repository(name).unwrap());
    let log = Log::default();
    let first = log.follow(&one, &remote, &watcher, NEVER);
    let _second = log.follow(&two, &remote.clone().at("dev"), &watcher, NEVER);
    head(&one, |pages| pages.head().is_some()).await;
    head(&two, |pages| pages.head().is_some()).await;
    // The end of the one takes nothing from the other.
    first.fetch().await.unwrap();
    drop(first);
    tokio::time::sleep(Duration::from_millis(50)).await;
    room.push("origin", &[("a", "2")]);
    room.script("git -C origin update-ref refs/heads/dev main");
    head(&two, |pages| files(pages)[0].1 == "2").await;
    assert_eq!(files(&one)[0].1, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_gets_what_was_there_when_they_asked() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "1")]);
    let pages = room.pages();
    let log = Log::default();
    let follower = Arc::new(log.follow(&pages, &remote, &Watcher::refusing(), NEVER));
    follower.fetch().await.unwrap();
    let pushed = room.push("origin", &[("a", "2")]);
    // Many at once: one fetch moves the head, and all see it.
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let (follower, pages) = (follower.clone(), pages.clone());
            tokio::spawn(async move {
                follower.fetch().await.unwrap();
                pages.head().unwrap().id
            })
        })
        .collect();
    for one in asking {
        assert_eq!(one.await.unwrap(), pushed);
    }
    assert_eq!(log.said().iter().filter(|line| line.starts_with("Moved")).count(), 2);
}

/// So that who looks then finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_told_before_who_asked_is_answered() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "1")]);
    let told = Arc::<AtomicBool>::default();
    let telling = told.clone();
    let report = move |event| {
        if matches!(event, Event::Failed(_)) {
            std::thread::sleep(Duration::from_millis(200));
            telling.store(true, Ordering::Relaxed);
        }
    };
    let follower = Follower::start(room.pages(), remote, Watcher::refusing(), NEVER, report);
    follower.fetch().await.unwrap();
    room.script("rm -r origin");
    follower.fetch().await.unwrap_err();
    assert!(told.load(Ordering::Relaxed));
}

#[test]
fn fetches_from_many_threads_never_put_an_older_head_over_a_newer_one() {
    let room = Room::new();
    let remote = room.remote("origin", &[("a", "0")]);
    let pages = room.pages();
    moved(&pages, &remote);
    let (sender, heads) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                for _ in 0..40 {
                    if let Fetched::Moved { revision, .. } = super::support::fetch(&pages, &remote).unwrap() {
                        sender.send(revision.id).unwrap();
                    }
                }
            });
        }
        for number in 1..20 {
            room.push("origin", &[("a", &number.to_string())]);
        }
    });
    super::support::fetch(&pages, &remote).unwrap();
    assert_eq!(pages.head().unwrap().id.to_string(), room.script("git -C origin rev-parse main").trim());
    drop(sender);
    let history = room.script("git -C origin rev-list main");
    let place = |id: String| history.lines().position(|line| line == id).unwrap();
    let places: Vec<usize> = heads.iter().map(|id| place(id.to_string())).collect();
    let mut sorted = places.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!(sorted.len(), places.len(), "each head was moved to once");
    assert_eq!(room.fsck(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_damaged_is_fetched_again_at_once() {
    let room = Room::new();
    let remote = room.remote("origin", &[("index.html", "0"), ("dir/a", "x")]);
    let pages = room.pages();
    let log = Log::default();
    let follower = log.follow(&pages, &remote, &Watcher::default(), NEVER);
    follower.fetch().await.unwrap();
    let snapshot = pages.snapshot(pages.head().map(|head| head.id)).unwrap();
    let lost = id(&room.script("git -C origin rev-parse main:dir/a"));
    let standings = pages.standings();
    room.script(&format!("rm -f state/git/pages.git/objects/$(echo {lost} | sed 's,..,&/,')"));
    assert!(snapshot.contents("dir/a", 10).is_err());
    let read = async {
        while snapshot.contents("dir/a", 10).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("mended within ten seconds");
    follower.fetch().await.unwrap();
    let said = ["Watching".into(), "Moved([])".into(), format!("Damaged(Sha1({lost}))"), "Recovered".into()];
    assert_eq!(log.said(), said);
    // Where it stands is told again: what failed for the damage may pass now.
    assert!(standings.has_changed().unwrap());
}
