-- The audit log of who may sign in to the page, and as what. Not of wrong passwords: those are no change of a user.
CREATE TRIGGER admin_user_audit AFTER INSERT OR DELETE OR UPDATE OF role, password_hash ON admin_user
    FOR EACH ROW EXECUTE FUNCTION audit_change('user', 'user_name', 'password_hash');
