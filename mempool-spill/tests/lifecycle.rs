//! Sessions among strangers: planted names, wrong modes, other users, two processes at once, umasks, numbers of processes
//! that come again, closed streams, a changed working directory.
//!
//! `RACES` says how often two processes open one directory at once.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink,
};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use mempool_spill::SpillError;
use rustix::fs::{CWD, FlockOperation, Mode, mknodat};

mod workloads;
use workloads::{
    Book, Scratch, Workload, bytes, check_saved_files, close_empty, names, number, options,
};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn make_root(scratch: &Scratch, mode: u32) -> PathBuf {
    let root = scratch.0.join(".mempool");
    fs::DirBuilder::new().mode(0o700).create(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
    root
}

fn fifo(path: &Path) {
    mknodat(CWD, path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Opens, does a little of everything, closes.
fn use_it(directory: &Path) {
    let pool = workloads::pool(options(directory).open().unwrap());
    let explain = |error: &mempool_core::Error| panic!("{error}");
    let mut book = Book::new(&pool, directory, &explain);
    Workload::Mixed.run(&mut book, 3);
    drop(book);
    pool.quiesce();
    pool.close().unwrap();
}

/// The children of the tests below.
#[test]
fn child_of_the_lifecycle() {
    let Some(job) = std::env::var_os("MEMPOOL_LIFE_CHILD") else { return };
    let directory = PathBuf::from(std::env::var_os("MEMPOOL_LIFE_DIRECTORY").unwrap());
    match job.to_str().unwrap() {
        "use" => {
            use_it(&directory);
            fs::write(directory.join("done"), "").unwrap();
        }
        "modes" => modes(&directory),
        "elsewhere" => elsewhere(&directory),
        "racer" => racer(&directory),
        other => panic!("no job {other}"),
    }
}

fn command(job: &str, directory: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "child_of_the_lifecycle", "--nocapture", "--test-threads=1"]);
    command.env("MEMPOOL_LIFE_CHILD", job).env("MEMPOOL_LIFE_DIRECTORY", directory);
    // What a child's own harness prints is no result of ours.
    command.stdout(Stdio::null());
    command
}

#[test]
fn what_is_planted_beside_sessions_is_neither_followed_nor_waited_for() {
    let scratch = Scratch::new("planted");
    let outside = Scratch::new("planted-outside");
    let root = make_root(&scratch, 0o700);
    for name in ["seg-1", "load-2", "mine"] {
        fs::write(outside.0.join(name), "theirs").unwrap();
    }
    let kept = outside.names();
    symlink(&outside.0, root.join("s-1-0000000000000000")).unwrap();
    symlink(&outside.0, root.join("new-1-0000000000000000")).unwrap();
    symlink("nowhere", root.join("s-2-0000000000000000")).unwrap();
    fs::write(root.join("s-3-0000000000000000"), "a file").unwrap();
    fifo(&root.join("s-4-0000000000000000"));
    fs::create_dir(root.join("somebody-else's")).unwrap();
    // Names of files that are being saved, beside the directory of sessions.
    symlink(outside.0.join("mine"), scratch.0.join(".mempool-save-1-0")).unwrap();
    fifo(&scratch.0.join(".mempool-save-1-1"));
    fs::create_dir(scratch.0.join(".mempool-save-1-2")).unwrap();
    fs::write(scratch.0.join(".mempool-save-1-3"), "a dead writer's").unwrap();
    // A dead session with strangers in it.
    let dead = root.join("s-5-0000000000000000");
    fs::create_dir(&dead).unwrap();
    symlink(outside.0.join("mine"), dead.join("seg-1")).unwrap();
    fs::hard_link(outside.0.join("seg-1"), dead.join("seg-2")).unwrap();
    fifo(&dead.join("seg-3"));
    let start = Instant::now();
    let store = options(&scratch.0).open().unwrap();
    let swept = store.swept();
    assert_eq!((swept.sessions, swept.files, swept.living, swept.saves), (1, 3, 0, 1), "{swept:?}");
    drop(store);
    use_it(&scratch.0);
    assert!(start.elapsed().as_secs() < 5, "nobody waits for a FIFO: {:?}", start.elapsed());
    assert_eq!(outside.names(), kept, "nothing outside is touched");
    assert!(kept.iter().all(|name| fs::read(outside.0.join(name)).unwrap() == b"theirs"));
    let left = names(&root);
    assert_eq!(left.len(), 6, "what is no session of ours stays: {left:?}");
    assert_eq!(
        names(&scratch.0),
        [".mempool", ".mempool-save-1-0", ".mempool-save-1-1", ".mempool-save-1-2"]
    );
    assert!(
        fs::symlink_metadata(scratch.0.join(".mempool-save-1-1")).unwrap().file_type().is_fifo()
    );
}

#[test]
fn a_directory_of_that_name_in_a_living_session_is_said_at_close() {
    let scratch = Scratch::new("inside");
    let store = options(&scratch.0).open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = workloads::pool(store);
    let one = pool.set(bytes(1, 50_000)).unwrap();
    pool.move_to_disk(&one).unwrap();
    // The next names that a session might choose; whatever stands there, a value goes elsewhere or says why not.
    for n in 2..6 {
        fs::create_dir(session.join(format!("seg-{n}"))).unwrap();
    }
    let mut kept = Vec::new();
    for seed in 2..10 {
        match pool.set(bytes(seed, 50_000)) {
            Ok(one) => kept.push((seed, one)),
            Err(rejected) => {
                assert!(rejected.error.to_string().contains("could not be written"), "{rejected}");
                assert!(rejected.value == bytes(seed, 50_000));
            }
        }
    }
    assert!(kept.len() >= 2);
    for (seed, one) in &kept {
        assert_eq!(pool.get(one).unwrap()[..], bytes(*seed, 50_000)[..]);
    }
    let error = pool.close().unwrap_err().to_string();
    assert!(
        error.contains(session.to_str().unwrap()),
        "the directory that stays is named: {error}"
    );
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    for what in ["link", "dangling", "file", "fifo"] {
        let scratch = Scratch::new("no-root");
        let outside = Scratch::new("no-root-outside");
        let root = scratch.0.join(".mempool");
        match what {
            "link" => symlink(&outside.0, &root).unwrap(),
            "dangling" => symlink("nowhere", &root).unwrap(),
            "file" => fs::write(&root, "").unwrap(),
            _ => fifo(&root),
        }
        let start = Instant::now();
        let error = options(&scratch.0).open().unwrap_err();
        assert!(
            matches!(error, SpillError::Io { call: "make a session in", .. }),
            "{what}: {error}"
        );
        assert!(error.to_string().contains(scratch.0.to_str().unwrap()), "{what}: {error}");
        assert!(start.elapsed().as_secs() < 5, "{what}");
        assert_eq!(outside.names(), Vec::<String>::new());
    }
}

#[test]
fn a_root_that_others_may_enter_is_closed_to_them() {
    for wrong in [0o755, 0o777, 0o1777, 0o750, 0o500] {
        let scratch = Scratch::new("wide");
        let root = make_root(&scratch, wrong);
        let store = options(&scratch.0).open().unwrap();
        assert_eq!(mode(&root), 0o700, "it was {wrong:o}");
        assert_eq!(mode(store.session_path()), 0o700);
        drop(store);
    }
}

#[test]
fn another_users_root_is_refused() {
    let scratch = Scratch::new("foreign");
    let root = make_root(&scratch, 0o700);
    fs::create_dir(root.join("s-1-0000000000000000")).unwrap();
    if chown(&root, Some(65_534), None).is_err() {
        println!("skipped: only root can give a directory to another user");
        return;
    }
    let us = fs::metadata(&scratch.0).unwrap().uid();
    let error = options(&scratch.0).open().unwrap_err();
    assert!(error.to_string().contains("belongs to user 65534"), "{error}");
    let SpillError::Foreign { path, owner: 65_534, us: found } = error else { panic!("{error}") };
    assert_eq!((path, found), (root.clone(), us));
    assert_eq!(names(&root), ["s-1-0000000000000000"], "nothing is done there");
}

#[test]
fn the_umask_makes_no_difference() {
    for umask in ["000", "022", "077", "0277"] {
        let scratch = Scratch::new("umask");
        let status =
            command("modes", &scratch.0, &format!("umask {umask}; exec \"$0\" \"$@\"")).status();
        assert!(status.unwrap().success(), "umask {umask}");
        assert_eq!(scratch.names(), [workloads::SAVED]);
        assert_eq!(
            mode(&scratch.0.join(workloads::SAVED)) & 0o177,
            0,
            "a saved file is its owner's alone"
        );
    }
}

fn modes(directory: &Path) {
    let store = options(directory).open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = workloads::pool(store);
    let all: Vec<_> = (0..8).map(|seed| pool.set(bytes(seed, 30_000)).unwrap()).collect();
    all.iter().for_each(|one| drop(pool.move_to_disk(one).unwrap()));
    pool.save_to_disk(&all[0], directory.join(workloads::SAVED)).unwrap();
    assert_eq!((mode(&session), mode(session.parent().unwrap())), (0o700, 0o700));
    let files = names(&session);
    assert!(!files.is_empty());
    assert!(files.iter().all(|file| mode(&session.join(file)) & !0o600 == 0));
    assert_eq!(check_saved_files(&pool, directory), 1);
    drop(all);
    close_empty(pool, directory);
}

#[test]
fn a_relative_directory_is_that_of_the_open() {
    let scratch = Scratch::new("chdir");
    fs::create_dir(scratch.0.join("here")).unwrap();
    fs::create_dir(scratch.0.join("there")).unwrap();
    let status = command("elsewhere", &scratch.0, "exec \"$0\" \"$@\"").status().unwrap();
    assert!(status.success());
    assert_eq!(
        names(&scratch.0.join("here")),
        Vec::<String>::new(),
        "a clean close leaves nothing"
    );
    assert_eq!(names(&scratch.0.join("there")), Vec::<String>::new(), "and nothing went here");
}

fn elsewhere(directory: &Path) {
    std::env::set_current_dir(directory).unwrap();
    let store = options(Path::new("here")).open().unwrap();
    assert!(store.session_path().is_absolute());
    let pool = workloads::pool(store);
    std::env::set_current_dir("there").unwrap();
    let all: Vec<_> = (0..20).map(|seed| pool.set(bytes(seed, 30_000)).unwrap()).collect();
    for (seed, one) in (0..).zip(&all) {
        assert_eq!(pool.get(one).unwrap()[..], bytes(seed, 30_000)[..]);
    }
    drop(all);
    pool.close().unwrap();
}

#[test]
fn closed_streams_are_no_trap() {
    // A file that is opened where a stream was must not be written to by whoever prints.
    for closed in ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"] {
        let scratch = Scratch::new("streams");
        let status = command("use", &scratch.0, &format!("exec \"$0\" \"$@\" {closed}")).status();
        assert!(status.unwrap().success(), "{closed}");
        assert_eq!(scratch.names(), ["done"], "{closed}");
    }
}

#[test]
fn the_lock_and_not_the_number_says_who_lives() {
    let scratch = Scratch::new("pid");
    let root = make_root(&scratch, 0o700);
    // A dead session whose process has the number of a living one: ours, and the first of all.
    for pid in [std::process::id(), 1] {
        let dead = root.join(format!("s-{pid}-0123456789abcdef"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("seg-1"), "left").unwrap();
    }
    // A living one whose number no process has.
    let living = root.join("s-4194304999-0123456789abcdef");
    fs::create_dir(&living).unwrap();
    fs::write(living.join("seg-1"), "used").unwrap();
    let lock = fs::File::open(&living).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    // A file that somebody is saving, and one that nobody is.
    let saving = scratch.0.join(format!(".mempool-save-{}-1", u32::MAX));
    let save = fs::File::create(&saving).unwrap();
    rustix::fs::flock(&save, FlockOperation::LockExclusive).unwrap();
    fs::write(scratch.0.join(format!(".mempool-save-{}-2", std::process::id())), "left").unwrap();
    let store = options(&scratch.0).open().unwrap();
    let swept = store.swept();
    assert_eq!((swept.sessions, swept.files, swept.living, swept.saves), (2, 2, 1, 1), "{swept:?}");
    assert_eq!(fs::read(living.join("seg-1")).unwrap(), b"used");
    assert!(saving.exists(), "a living writer keeps its file");
    drop((lock, save, store));
    let swept = options(&scratch.0).open().unwrap().swept();
    assert_eq!((swept.sessions, swept.files, swept.living, swept.saves), (1, 1, 0, 1), "{swept:?}");
    assert_eq!(scratch.names(), Vec::<String>::new());
}

#[test]
fn what_a_killed_process_was_saving_is_swept_by_the_next_save_there() {
    let scratch = Scratch::new("saves");
    let elsewhere = Scratch::new("saves-elsewhere");
    let left =
        |n: u32| fs::write(elsewhere.0.join(format!(".mempool-save-1-{n}")), "half").unwrap();
    left(1);
    let pool = workloads::pool(options(&scratch.0).open().unwrap());
    let one = pool.set(bytes(1, 3000)).unwrap();
    assert_eq!(elsewhere.names().len(), 1, "an open looks at its own directory alone");
    let name = format!("{}1", workloads::SAVED);
    pool.save_to_disk(&one, elsewhere.0.join(&name)).unwrap();
    assert_eq!(elsewhere.names(), [name.as_str()]);
    // Two stores of one process save to one directory; their temporary files do not meet.
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (scratch, elsewhere, name) = (&scratch, &elsewhere, &name);
            scope.spawn(move || {
                let pool = workloads::pool(options(&scratch.0).open().unwrap());
                let one = pool.set(bytes(thread, 3000)).unwrap();
                for _ in 0..20 {
                    pool.save_to_disk(&one, elsewhere.0.join(name)).unwrap();
                }
            });
        }
    });
    assert_eq!(elsewhere.names(), [name.as_str()]);
    assert_eq!(check_saved_files(&pool, &elsewhere.0), 1);
}

/// A process that opens the directory each time it is told to.
struct Racer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Racer {
    fn start(directory: &Path) -> Self {
        let mut command = command("racer", directory, "exec \"$0\" \"$@\"");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let mut racer =
            Self { orders, answers: BufReader::new(child.stdout.take().unwrap()), child };
        racer.answer("ready");
        racer
    }

    fn go(&mut self) {
        self.orders.write_all(b"go\n").unwrap();
    }

    fn answer(&mut self, expected: &str) {
        // The harness of the test prints lines of its own.
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "a racer died");
            if line.trim_end().ends_with(expected) {
                return;
            }
        }
    }
}

fn racer(directory: &Path) {
    println!("\nready");
    for (round, line) in (0..).zip(std::io::stdin().lines()) {
        assert_eq!(line.unwrap(), "go");
        let store = options(directory).open().unwrap();
        let session = store.session_path().to_path_buf();
        let pool = workloads::pool(store);
        let one = pool.set(bytes(round, 20_000)).unwrap();
        pool.move_to_disk(&one).unwrap();
        assert_eq!(pool.get(&one).unwrap()[..], bytes(round, 20_000)[..]);
        assert_eq!(names(&session).len(), 1);
        drop(one);
        pool.close().unwrap();
        assert!(!session.exists());
        println!("\nclosed");
    }
}

#[test]
fn two_processes_open_one_directory_at_once() {
    let start = Instant::now();
    let races = number("RACES", 200);
    let scratch = Scratch::in_memory("race");
    let mut racers = [Racer::start(&scratch.0), Racer::start(&scratch.0)];
    for race in 0..races {
        racers.iter_mut().for_each(Racer::go);
        racers.iter_mut().for_each(|racer| racer.answer("closed"));
        assert_eq!(scratch.names(), Vec::<String>::new(), "race {race} leaves nothing");
    }
    for racer in racers {
        let Racer { mut child, orders, mut answers } = racer;
        drop(orders);
        // What its harness prints at its end wants a reader.
        answers.read_to_end(&mut Vec::new()).unwrap();
        child.wait().unwrap();
    }
    println!("{races} races in {:.1?}", start.elapsed());
    println!("proof: cases={races}");
}
