//! Objects as files of a folder, one folder a group.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use codraft_proto::{disk::Disk, ids::GroupId, transport::BoxFuture};

use super::{ContentHash, OBJECT_BYTES_MAX, ObjectId, SnapshotError, Snapshots};

/// Ends the names of what is being written.
const UNFINISHED: &str = "new";

/// The embedded twin. One process writes to the folder.
pub struct Folder {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl Folder {
    /// The folder is made when it is not there; what an earlier process left unfinished is removed.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        disk.create_dir_all(&dir).await?;
        for group in disk.list(&dir).await? {
            let group = dir.join(group);
            for name in disk.list(&group).await? {
                let path = group.join(name);
                if path.extension().is_some_and(|end| end == UNFINISHED) {
                    disk.remove(&path).await?;
                }
            }
        }
        Ok(Self { disk, dir })
    }

    /// One that is there, as it lies: nothing is made and nothing removed.
    pub fn at(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir }
    }

    fn of_group(&self, group: GroupId) -> PathBuf {
        self.dir.join(format!("{:08x}", group.0))
    }

    fn path(&self, object: ObjectId) -> PathBuf {
        self.of_group(object.group).join(object.hash.to_string())
    }

    async fn read(&self, object: ObjectId) -> Result<Bytes, SnapshotError> {
        let failed = |error| of(error, object);
        let file = self.disk.open(&self.path(object), false).await;
        let file = file.map_err(failed)?;
        let bytes = file.len().await.map_err(failed)? as usize;
        if bytes > OBJECT_BYTES_MAX {
            return Err(SnapshotError::Damaged(object));
        }
        let content: Bytes = file.read_at(0, bytes).await.map_err(failed)?.into();
        match ContentHash::of(&content).await == object.hash {
            true => Ok(content),
            false => Err(SnapshotError::Damaged(object)),
        }
    }

    async fn write(&self, object: ObjectId, content: &Bytes) -> io::Result<()> {
        let (dir, path) = (self.of_group(object.group), self.path(object));
        self.disk.create_dir_all(&dir).await?;
        let unfinished = path.with_extension(UNFINISHED);
        let written = self.write_and_rename(&unfinished, &path, content).await;
        if written.is_err() {
            // On a full disk its bytes are worth more than its name.
            let _ = self.disk.remove(&unfinished).await;
        }
        written?;
        self.disk.sync_dir(&dir).await
    }

    async fn write_and_rename(
        &self,
        unfinished: &Path,
        path: &Path,
        content: &Bytes,
    ) -> io::Result<()> {
        let file = self.disk.open(unfinished, true).await?;
        file.write_and_sync(0, content.to_vec()).await?;
        self.disk.rename(unfinished, path).await
    }
}

impl Snapshots for Folder {
    fn put(
        &self,
        group: GroupId,
        content: Bytes,
    ) -> BoxFuture<'_, Result<ObjectId, SnapshotError>> {
        Box::pin(async move {
            let bytes = content.len();
            if bytes > OBJECT_BYTES_MAX {
                return Err(SnapshotError::TooLarge { bytes });
            }
            let object = ObjectId::of(group, &content).await;
            // It may be there from before a crash; whether its name is durable is not known then.
            if self.read(object).await.is_ok() {
                let synced = self.disk.sync_dir(&self.of_group(group)).await;
                synced.map_err(|error| of(error, object))?;
                return Ok(object);
            }
            let written = self.write(object, &content).await;
            written.map_err(|error| of(error, object))?;
            self.read(object).await?;
            Ok(object)
        })
    }

    fn get(&self, object: ObjectId) -> BoxFuture<'_, Result<Bytes, SnapshotError>> {
        Box::pin(self.read(object))
    }

    fn get_range(
        &self,
        object: ObjectId,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'_, Result<Bytes, SnapshotError>> {
        Box::pin(async move {
            let failed = |error| of(error, object);
            let file = self.disk.open(&self.path(object), false).await;
            let file = file.map_err(failed)?;
            let length = length.min(OBJECT_BYTES_MAX);
            let part = file.read_at(offset, length).await.map_err(failed)?;
            Ok(part.into())
        })
    }

    fn list(
        &self,
        group: GroupId,
        after: Option<ContentHash>,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<ObjectId>, SnapshotError>> {
        Box::pin(async move {
            let names = match self.disk.list(&self.of_group(group)).await {
                Ok(names) => names,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(SnapshotError::Unavailable(error)),
            };
            let hashes = names.iter().filter_map(|name| ContentHash::parse(name));
            let later = hashes.filter(|hash| after.is_none_or(|after| *hash > after));
            let objects = later.map(|hash| ObjectId { group, hash });
            Ok(objects.take(most).collect())
        })
    }

    fn remove(&self, object: ObjectId) -> BoxFuture<'_, Result<(), SnapshotError>> {
        Box::pin(async move {
            match self.disk.remove(&self.path(object)).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(SnapshotError::Unavailable(error))
                }
                _ => Ok(()),
            }
        })
    }
}

fn of(error: io::Error, object: ObjectId) -> SnapshotError {
    match error.kind() {
        io::ErrorKind::NotFound => SnapshotError::Missing(object),
        io::ErrorKind::StorageFull => SnapshotError::Full(error),
        _ => SnapshotError::Unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use codraft_proto::disk::{OsDisk, memory::MemoryDisk};

    use super::{super::conformance, *};

    const G: GroupId = GroupId(3);

    #[tokio::test]
    async fn a_folder_does_what_a_snapshot_tier_must() {
        let disk = Arc::new(MemoryDisk::new());
        let folder = Folder::open(disk, "/node/archive".into()).await.unwrap();
        conformance::all(&folder).await;
    }

    #[tokio::test]
    async fn a_folder_of_the_machine_does_so_too() {
        let dir = std::env::temp_dir().join(format!("codraft-objects-{}", std::process::id()));
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::start().unwrap());
        let folder = Folder::open(disk, dir.clone()).await.unwrap();
        conformance::all(&folder).await;
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn an_object_outlives_a_loss_of_power() {
        let disk = MemoryDisk::new();
        let open = |disk: &MemoryDisk| Folder::open(Arc::new(disk.clone()), "/archive".into());
        let folder = open(&disk).await.unwrap();
        let object = folder.put(G, "once".into()).await.unwrap();
        for seed in 0..8 {
            disk.lose_power(seed);
            let folder = open(&disk).await.unwrap();
            assert_eq!(folder.get(object).await.unwrap(), "once");
        }
    }

    #[tokio::test]
    async fn a_damaged_object_is_told_and_put_right() {
        let disk = Arc::new(MemoryDisk::new());
        let folder = Folder::open(disk.clone(), "/archive".into()).await.unwrap();
        let object = folder.put(G, "as it was".into()).await.unwrap();
        disk.flip(&folder.path(object), 3);
        let damaged = folder.get(object).await;
        assert!(matches!(damaged, Err(SnapshotError::Damaged(of)) if of == object));
        folder.put(G, "as it was".into()).await.unwrap();
        assert_eq!(folder.get(object).await.unwrap(), "as it was");
    }

    #[tokio::test]
    async fn what_was_not_finished_is_removed_and_never_listed() {
        let disk = Arc::new(MemoryDisk::new());
        let folder = Folder::open(disk.clone(), "/archive".into()).await.unwrap();
        let object = folder.put(G, "whole".into()).await.unwrap();
        let path = folder.path(object).with_extension(UNFINISHED);
        disk.open(&path, true).await.unwrap();
        assert_eq!(folder.list(G, None, 9).await.unwrap(), [object]);
        Folder::open(disk.clone(), "/archive".into()).await.unwrap();
        assert!(disk.open(&path, false).await.is_err());
    }
}
