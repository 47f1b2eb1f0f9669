//! May a key call at all? Status, expiry, source address, endpoint and model, of the key and of its
//! owners. All four scopes have the same lists; the first that forbids answers.

use crate::{
    arena::Arena, call::endpoint, clock::Clock, heap::Stored, model::ModelName, record::Standing,
    slot::SCOPES, units::NONE, verdict::Code,
};

/// The standing of a key and of its owners, in the order of the checks: key, team, user, org.
pub struct Standings<'a> {
    /// [`Standing::NOBODY`] for an owner that the key does not have.
    pub scopes: [Standing; SCOPES],
    pub arena: &'a Arena,
    /// [`Arena::reuses`] before the scopes were read.
    pub reuses: u64,
    pub clock: &'a Clock,
}

impl<'a> Standings<'a> {
    /// Check that the key may call `endpoint` from `address`, which is asked for only where a scope
    /// has a list of addresses. The list of models is open to every live key.
    pub fn check_key<S: AsRef<str>>(
        &self,
        address: impl FnOnce() -> S,
        endpoint: u8,
    ) -> Result<(), Code> {
        self.check_live()?;
        if self.scopes.iter().any(|scope| scope.has_ips()) {
            let address = address();
            let allows = |scope: &Standing| self.list(scope).allows_address(address.as_ref());
            let allowed = self.scopes.iter().filter(|scope| scope.has_ips()).all(allows);
            self.check_lists()?;
            if !allowed {
                return Err(Code::KeyWrongIp);
            }
        }
        let allows = |scope: &Standing| scope.allows_endpoint(endpoint);
        if endpoint == endpoint::MODELS || self.scopes.iter().all(allows) {
            Ok(())
        } else {
            Err(Code::EndpointNotAllowed)
        }
    }

    /// Check that the key is live and may use a model.
    pub fn check_model(&self, model: &ModelName) -> Result<(), Code> {
        self.check_live()?;
        if !self.scopes.iter().any(|scope| scope.has_models()) {
            return Ok(());
        }
        let allows = |scope: &Standing| !scope.has_models() || self.list(scope).allows_model(model);
        let allowed = self.scopes.iter().all(allows);
        self.check_lists()?;
        if allowed { Ok(()) } else { Err(Code::ModelNotAllowed) }
    }

    /// Check that the lists that were read are those of the scopes: a policy that was replaced
    /// meanwhile may have left its room to another.
    fn check_lists(&self) -> Result<(), Code> {
        if self.arena.is_unused_since(self.reuses) { Ok(()) } else { Err(Code::NotReady) }
    }

    /// Check status and expiry of the key, then of its owners.
    fn check_live(&self) -> Result<(), Code> {
        let [key, owners @ ..] = &self.scopes;
        if !key.is_active() {
            return Err(Code::KeyRevoked);
        }
        if self.is_expired(key) {
            return Err(Code::KeyExpired);
        }
        if owners.iter().any(|owner| !owner.is_active() || self.is_expired(owner)) {
            return Err(Code::OwnerDisabled);
        }
        Ok(())
    }

    fn is_expired(&self, scope: &Standing) -> bool {
        scope.expires_ms != NONE && scope.expires_ms <= self.clock.wall_ms()
    }

    fn list(&self, scope: &Standing) -> Stored<'a> {
        self.arena.block(scope.heap())
    }
}
