//! Managing users: what an operator does.
//!
//! **Job.** Make, list, change and remove users, ending their logins where a change takes something away. **Called by** the commands
//! `madang user`, the admin surface, the HTTP face (one's own password). **Calls** `users`, `desk`, `session`.
//!
//! Invariants
//! 1. A new password, other roles, disabling and removal end every login of the user before they answer.
//!
//! Not here: API keys (`api_key`).

use std::net::IpAddr;

use crate::api_key;
use crate::identity::Identity;
use crate::login::random_bytes;
use crate::name::Name;
use crate::password::{self, Password};
use crate::refused::Refused;
use crate::scram::Verifier;
use crate::users::{self, Record, UserError, UserView};

/// Users of one page of a list.
pub const PAGE_MAX: usize = 500;

/// What is kept of a password.
struct Hashes {
    password: String,
    scram: Option<Verifier>,
}

impl Identity {
    /// Makes a user. Without a password only keys open it.
    ///
    /// # Errors
    /// [`UserError::Name`], [`UserError::Taken`], [`UserError::Password`], [`UserError::Role`], or what the store or the hashing
    /// threads say.
    pub async fn add_user(
        &self,
        name: &str,
        password: Option<&str>,
        roles: &[String],
    ) -> Result<UserView, UserError> {
        let name = Name::parse(name)?;
        let roles = users::roles(roles)?;
        let hashes = match password {
            Some(password) => Some(self.hashes(password).await?),
            None => None,
        };
        let (password, scram) = hashes.map_or((None, None), |made| (Some(made.password), made.scram));
        let record = Record {
            number: 0,
            name: name.shown().to_owned(),
            password,
            scram,
            roles,
            disabled: false,
            generation: 1,
            made: self.now(),
        };
        Ok(UserView::from(&self.0.users.make(&name, record).await?))
    }

    /// Users in the order of their names, at most [`PAGE_MAX`]; `after`: the last name of the page before.
    ///
    /// # Errors
    /// The store's.
    pub async fn users(&self, after: Option<&str>) -> Result<Vec<UserView>, UserError> {
        let after = after.map(Name::parse).transpose()?;
        let page = self.0.users.list(after.as_ref().map(Name::key), PAGE_MAX).await?;
        Ok(page.iter().map(|(_, record)| UserView::from(record)).collect())
    }

    /// One user.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], the store's.
    pub async fn user(&self, name: &str) -> Result<UserView, UserError> {
        let name = Name::parse(name)?;
        match self.0.users.find(name.key()).await? {
            Some(record) => Ok(UserView::from(&record)),
            None => Err(UserError::NoSuchUser { name: name.shown().to_owned() }),
        }
    }

    /// A new password; every login of the user ends.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], [`UserError::Password`], or what the store or the hashing threads say.
    pub async fn set_password(&self, name: &str, password: &str) -> Result<UserView, UserError> {
        let name = Name::parse(name)?;
        let made = self.hashes(password).await?;
        let change = |user: &mut Record| {
            user.password = Some(made.password.clone());
            user.scram.clone_from(&made.scram);
        };
        self.changed(&name, change).await
    }

    /// One's own new password, for who knows the old one.
    ///
    /// # Errors
    /// As [`Identity::login`] and [`Identity::set_password`].
    pub async fn change_password(
        &self,
        name: &str,
        old: &str,
        new: &str,
        from: IpAddr,
    ) -> Result<UserView, UserError> {
        self.login_once(name, old, from).await?;
        self.set_password(name, new).await
    }

    /// Other roles; every login of the user ends, so that none goes on with the old ones.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], [`UserError::Role`], the store's.
    pub async fn set_roles(&self, name: &str, roles: &[String]) -> Result<UserView, UserError> {
        let (name, roles) = (Name::parse(name)?, users::roles(roles)?);
        self.changed(&name, |user| user.roles.clone_from(&roles)).await
    }

    /// Nobody may log in as this user any more, or may again.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], the store's.
    pub async fn set_disabled(&self, name: &str, disabled: bool) -> Result<UserView, UserError> {
        let name = Name::parse(name)?;
        self.changed(&name, |user| user.disabled = disabled).await
    }

    /// Removes a user and its keys for good. The name may be given again, the id is not.
    ///
    /// # Errors
    /// [`UserError::NoSuchUser`], the store's.
    pub async fn remove_user(&self, name: &str) -> Result<UserView, UserError> {
        let name = Name::parse(name)?;
        let record = self.0.users.remove(&name).await?;
        let over = Record { generation: u64::MAX, ..record.clone() };
        self.end_all(&over).await?;
        for key in self.keys_of(record.number).await? {
            api_key::forget(self, &key).await?;
        }
        Ok(UserView::from(&record))
    }

    async fn changed(&self, name: &Name, mut change: impl FnMut(&mut Record)) -> Result<UserView, UserError> {
        let record = self
            .0
            .users
            .change(name, |user| {
                change(user);
                user.generation += 1;
            })
            .await?;
        self.end_all(&record).await?;
        self.0.keys.forget_all();
        Ok(UserView::from(&record))
    }

    async fn hashes(&self, written: &str) -> Result<Hashes, UserError> {
        let settings = self.settings().identity.clone();
        let chosen = Password::chosen(written, settings.password_chars_min)?;
        let salt = random_bytes()?;
        let made = self
            .0
            .desk
            .ask(move || {
                let password = password::hash(&chosen, settings.hash_cost)?;
                let scram = settings.scram_iterations.map(|rounds| Verifier::of(&chosen, salt, rounds));
                Some(Hashes { password, scram })
            })
            .await?;
        made.ok_or(UserError::Refused(Refused::Failed { what: "memory for a password hash" }))
    }
}
