//! Which user has which documents, as a manifest lists it, beside what the documents say.

use codraft_proto::ids::GroupId;
use codraft_raft::users::{Listed, by_page, of_slot};

use crate::{
    folder::NodeFolder,
    report::{Lie, Place, Report},
};

/// Compares where all of it reads back; what does not is told where files are gone through.
pub async fn prove(folder: &NodeFolder, group: GroupId, report: &mut Report) {
    let kept = folder.groups.get(&group).filter(|kept| kept.is_whole);
    let Some((kept, pages)) = kept.and_then(|kept| Some((kept, kept.manifest.users.as_ref()?)))
    else {
        return;
    };
    let slots = kept.documents.slots();
    let mut right: Vec<Listed> = slots
        .flat_map(|(_, documents)| of_slot(documents))
        .collect();
    right.sort_unstable();
    for (page, here) in by_page(pages, &right) {
        let Some(told) = folder.users(group, page).await else {
            continue;
        };
        let mut both = told.iter().zip(here);
        let differ = both.position(|(told, right)| told != right);
        let differ = differ.unwrap_or(told.len().min(here.len()));
        let (told, right) = (told.get(differ), here.get(differ));
        let Some(first) = told.min(right).or(told).or(right) else {
            continue;
        };
        let what = match told == Some(first) && right != Some(first) {
            true => format!(
                "it lists a document for {}, who has no role in it",
                first.user
            ),
            false => format!("it does not list a document for {}", first.user),
        };
        let place = Place::Within {
            from: page.place.offset.into(),
            length: page.place.end() - u64::from(page.place.offset),
        };
        let lie = Lie::new(folder.page_file(page.place), what).at(place);
        report.lie(lie.of_group(group).of(Some(first.doc), None));
    }
    if let Some(first) = right.first().filter(|_| pages.is_empty()) {
        let what = format!("it does not list a document for {}", first.user);
        let lie = Lie::new(folder.manifest_file(&kept.manifest), what);
        report.lie(lie.of_group(group).of(Some(first.doc), None));
    }
}
