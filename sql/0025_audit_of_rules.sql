-- The audit log of what a number may spend, what its owner may be charged without being asked, and who is told.
CREATE TRIGGER spend_limit_audit AFTER INSERT OR UPDATE OR DELETE ON spend_limit
    FOR EACH ROW EXECUTE FUNCTION audit_change('spend limit', 'number_id');
CREATE TRIGGER renewal_rule_audit AFTER INSERT OR UPDATE OR DELETE ON renewal_rule
    FOR EACH ROW EXECUTE FUNCTION audit_change('auto-renewal', 'number_id');
CREATE TRIGGER alert_level_audit AFTER INSERT OR DELETE ON alert_level
    FOR EACH ROW EXECUTE FUNCTION audit_change('alert level', 'number_id');
CREATE TRIGGER alert_channel_audit AFTER INSERT OR DELETE ON alert_channel
    FOR EACH ROW EXECUTE FUNCTION audit_change('alert channel', 'channel_id', 'target', 'secret');
