use super::*;

#[tokio::test(start_paused = true)]
async fn documents_that_nobody_uses_leave_memory_and_those_in_use_stay() {
    let disk = MemoryDisk::new();
    let roomy = World::open_with(&disk, 200 << 10).await;
    let world = fill(roomy).await;
    let (before, began) = (world.digest(), Instant::now());
    let idle = KeepOptions::default().idle;
    assert_eq!(world.warm_documents(), 40, "there is room for all");
    let keeps = async {
        loop {
            world.keeper.next().await.unwrap();
        }
    };
    let used = doc(4);
    let uses = async {
        while world.warm_documents() > 1 && began.elapsed() < 3 * idle {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.core.lock().use_document(&used);
        }
    };
    tokio::select! {
        () = keeps => {}
        () = uses => {}
    }
    assert!(began.elapsed() > idle, "{:?}", began.elapsed());
    assert!(began.elapsed() < 2 * idle, "{:?}", began.elapsed());
    assert_eq!(world.text(used), "of 4");
    assert_eq!(world.digest(), before);
    world.check_events().await;
}
