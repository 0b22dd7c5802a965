//! Who an operator is (spec: operations §3.2).

use crate::config::settings::Auth;
use crate::config::values::Password;
use std::fmt;

/// What a session may do; later ones may do more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Role {
    /// No password, or a wrong one.
    #[default]
    None,
    /// The user's password.
    User,
    /// The admin's password.
    Admin,
    /// Who owns the state: over the local socket alone. Has files written too.
    Owner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "CPRNone",
            Self::User => "CPRUser",
            Self::Admin | Self::Owner => "CPRAdmin",
        })
    }
}

impl Role {
    /// Takes the role of a password, if there is none yet; what is answered.
    pub fn take(&mut self, offered: Self) -> String {
        if *self == Self::None {
            *self = offered;
        }
        // No password gives the owner's role: what the admin may do is part of it.
        let same = *self == offered || (*self, offered) == (Self::Owner, Self::Admin);
        if same {
            format!("Current role is {self}")
        } else {
            format!("Current role is {self}, start new session to change.")
        }
    }
}

/// Passwords of the roles; a role without one cannot be taken.
#[derive(Debug, Clone)]
pub struct Passwords {
    admin: Option<Password>,
    user: Option<Password>,
}

impl Passwords {
    /// Those of the configuration.
    pub fn new(auth: &Auth) -> Self {
        Self {
            admin: auth.control_port_admin_password.clone(),
            user: auth.control_port_user_password.clone(),
        }
    }

    /// The role a password gives. Both are compared, whichever it is.
    pub fn role_of(&self, attempt: &[u8]) -> Role {
        let matches = |password: &Option<Password>| {
            password
                .as_ref()
                .is_some_and(|password| password.matches(attempt))
        };
        match (matches(&self.admin), matches(&self.user)) {
            (true, _) => Role::Admin,
            (false, true) => Role::User,
            (false, false) => Role::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(admin: Option<&str>, user: Option<&str>) -> Passwords {
        let password = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        Passwords {
            admin: password(admin),
            user: password(user),
        }
    }

    #[test]
    fn passwords_give_roles_and_equal_ones_the_greater() {
        let both = passwords(Some("a"), Some("u"));
        assert_eq!(both.role_of(b"a"), Role::Admin);
        assert_eq!(both.role_of(b"u"), Role::User);
        assert_eq!(both.role_of(b"x"), Role::None);
        assert_eq!(passwords(Some("a"), Some("a")).role_of(b"a"), Role::Admin);
        let neither = passwords(None, None);
        for attempt in [&b""[..], b"a", b"None"] {
            assert_eq!(neither.role_of(attempt), Role::None);
        }
    }

    #[test]
    fn a_role_once_taken_stays() {
        let mut role = Role::None;
        assert_eq!(role.take(Role::None), "Current role is CPRNone");
        assert_eq!(role.take(Role::User), "Current role is CPRUser");
        assert_eq!(role.take(Role::User), "Current role is CPRUser");
        let other = "Current role is CPRUser, start new session to change.";
        assert_eq!(role.take(Role::Admin), other);
        assert_eq!(role.take(Role::None), other);
        assert_eq!(role, Role::User);
    }

    #[test]
    fn the_owner_is_an_admin_already() {
        let mut role = Role::Owner;
        assert_eq!(role.take(Role::Admin), "Current role is CPRAdmin");
        let other = "Current role is CPRAdmin, start new session to change.";
        assert_eq!(role.take(Role::User), other);
        assert_eq!(role.take(Role::None), other);
        assert_eq!(role, Role::Owner);
    }
}
