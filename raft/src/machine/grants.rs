//! Who may do what with a document. A change is an event of the document's own log, so it
//! has a place in the order of the operations that it governs.

use std::{collections::BTreeMap, sync::Arc};

use codraft_proto::{
    ids::{Revision, Role, USER_BYTES_MAX, UserId},
    reject::Code,
};

use super::{Refusal, stored::StateError};
use crate::command::{self, Input, put_blob, put_varint};

/// A user's role, and the revision that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub role: Role,
    pub rev: Revision,
}

impl Grant {
    /// The first revision that who has it may see: owners and editors all, the others what came since they
    /// were let in.
    pub fn visible_from(&self) -> Revision {
        match self.role.can_edit() {
            true => Revision(0),
            false => self.rev,
        }
    }
}

/// The roles in one document. There is always an owner.
#[derive(Debug, Clone)]
pub(super) struct Grants {
    /// Shared by clones: a change is rare.
    roles: Arc<BTreeMap<UserId, Grant>>,
    owners: usize,
}

/// What a permitted change amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It takes a revision.
    Takes,
    /// It is so already, since this revision (none: it never was).
    Holds(Option<Revision>),
}

impl Grants {
    pub fn of_owner(owner: UserId, rev: Revision) -> Self {
        Self {
            roles: Arc::new(BTreeMap::from([(
                owner,
                Grant {
                    role: Role::Owner,
                    rev,
                },
            )])),
            owners: 1,
        }
    }

    pub fn of(&self, user: &str) -> Option<Grant> {
        self.roles.get(user).copied()
    }

    pub fn role(&self, user: &str) -> Option<Role> {
        self.of(user).map(|grant| grant.role)
    }

    pub fn len(&self) -> usize {
        self.roles.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&UserId, Grant)> {
        self.roles.iter().map(|(user, grant)| (user, *grant))
    }

    /// Judges a change; `set` performs it.
    pub fn judge(&self, grant: &command::Grant, most: usize) -> Result<Change, Refusal> {
        let by = self.role(&grant.by);
        let leaves = grant.by == grant.user && grant.role.is_none();
        match by {
            // Missing and forbidden look alike to somebody without a role.
            None => return Err(Refusal::new(Code::NotFound, "no such document")),
            Some(Role::Owner) => {}
            Some(_) if leaves => {}
            Some(_) => return Err(Refusal::new(Code::Forbidden, "only an owner grants roles")),
        }
        check_user(&grant.user)?;
        let held = self.roles.get(&grant.user);
        if held.map(|held| held.role) == grant.role {
            return Ok(Change::Holds(held.map(|held| held.rev)));
        }
        if held.is_some_and(|held| held.role == Role::Owner) && self.owners == 1 {
            return Err(Refusal::new(Code::Grant, "the last owner stays"));
        }
        if held.is_none() && self.roles.len() >= most {
            return Err(Refusal::new(Code::Grant, format!("more than {most} users")));
        }
        Ok(Change::Takes)
    }

    pub fn set(&mut self, user: &UserId, role: Option<Role>, rev: Revision) {
        let roles = Arc::make_mut(&mut self.roles);
        let before = match role {
            Some(role) => roles.insert(user.clone(), Grant { role, rev }),
            None => roles.remove(user),
        };
        if before.is_some_and(|before| before.role == Role::Owner) {
            self.owners -= 1;
        }
        if role == Some(Role::Owner) {
            self.owners += 1;
        }
        assert!(self.owners > 0, "a document without an owner");
    }

    /// Appends the stored form: see `stored.rs`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.roles.len() as u64);
        for (user, grant) in self.roles.iter() {
            put_blob(out, user.as_bytes());
            out.push(grant.role as u8);
            put_varint(out, grant.rev.0);
        }
    }

    /// Reads the roles of a document whose head is `head`.
    pub fn decode(input: &mut Input<'_>, head: Revision) -> Result<Self, StateError> {
        let mut roles: BTreeMap<UserId, Grant> = BTreeMap::new();
        for _ in 0..input.varint("grants")? {
            let user: UserId = input.text("user")?.into();
            if roles
                .last_key_value()
                .is_some_and(|(last, _)| *last >= user)
            {
                return Err(StateError::Invalid("order of users"));
            }
            let role = input.number("role", Role::from_number)?;
            let rev = Revision(input.varint("rev")?);
            if !(Revision(1)..=head).contains(&rev) {
                return Err(StateError::Invalid("grant"));
            }
            roles.insert(user, Grant { role, rev });
        }
        let owners = roles.values().filter(|grant| grant.role == Role::Owner);
        match owners.count() {
            0 => Err(StateError::Invalid("grants without an owner")),
            owners => Ok(Self {
                roles: Arc::new(roles),
                owners,
            }),
        }
    }
}

/// A user's id is 1 to 128 bytes.
pub(super) fn check_user(user: &str) -> Result<(), Refusal> {
    if user.is_empty() || user.len() > USER_BYTES_MAX {
        return Err(Refusal::new(
            Code::Malformed,
            format!("a user id has 1 to {USER_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}
