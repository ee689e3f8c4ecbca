//! The interface as another program uses it: the `curl` lines of `docs/network.md`, run as they stand there.

use std::path::{Path, PathBuf};
use std::process::Command;

use mempool_net::bytes::ServeLimits;

use crate::support::{Shelf, frame_of, id, run, served};

/// The lines of the document that call curl.
fn lines() -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/network.md");
    let text = std::fs::read_to_string(document).expect("the document");
    text.lines().filter_map(|line| line.strip_prefix("    curl ")).map(str::to_owned).collect()
}

/// Runs curl with such arguments in `directory`, and answers what it printed.
async fn curl(directory: PathBuf, line: String) -> String {
    let run = move || {
        let arguments = line.split_whitespace();
        Command::new("curl").args(["--silent"]).args(arguments).current_dir(directory).output()
    };
    let done = tokio::task::spawn_blocking(run).await.expect("no panic").expect("curl runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn the_curl_lines_of_the_document_work() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: curl is not installed");
        return;
    }
    let directory = std::env::temp_dir().join(format!("mempool-curl-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory");
    let lines = lines();
    let [whole, rest, put] = &lines[..] else { panic!("three lines, not {lines:?}") };
    run(async {
        let shelf = Shelf::new();
        let addr = shelf.serve(ServeLimits::default()).await.to_string();
        let frame = frame_of(100_000);
        let named = format!("{:032x}/7.1", 0xab);
        shelf.put(id(7), served(&frame));
        // The document's node and value are others than the test's.
        let here = |line: &str| {
            assert!(line.contains("127.0.0.1:7077"), "{line}");
            line.replace("127.0.0.1:7077", &addr).replace(&named, &id(7).to_string())
        };
        let file = directory.join("value.frame");
        curl(directory.clone(), here(whole)).await;
        assert!(std::fs::read(&file).expect("the file") == frame);
        std::fs::write(&file, &frame[..1234]).expect("a part of it");
        curl(directory.clone(), here(rest)).await;
        assert!(std::fs::read(&file).expect("the file") == frame);
        let answer = curl(directory.clone(), here(put)).await;
        assert_eq!(answer, format!("{{\"value\":\"{}\"}}\n", id(1000)));
        let again = here(whole).replace(&id(7).to_string(), &id(1000).to_string());
        curl(directory.clone(), again).await;
        assert!(std::fs::read(&file).expect("the file") == frame);
    });
    std::fs::remove_dir_all(&directory).expect("removed");
}
