-- What Argo CD says of a RewardModel. The table of states: docs/gitops.md.
-- The conditions decide, not the phase. Only what needs a human is Degraded: Argo CD fails a sync
-- when it meets that, and missing pods come back by themselves.
if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "It is being deleted" }
end

local status = obj.status or {}
local is = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" then
    is[condition.type] = condition
  elseif condition.type == "Ready" then
    is.NotReady = condition
  end
end

-- A status of an older spec, or none, says nothing of this spec.
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "The operator has not seen this spec yet" }
end
-- Also where another revision keeps serving: this spec is not what serves, and will not be by itself.
if is.Stalled then
  local served = is.Available and "; clients are served all the same" or ""
  return { status = "Degraded", message = is.Stalled.reason .. ": " .. is.Stalled.message .. served }
end
if is.Paused then
  return { status = "Suspended", message = is.Paused.reason .. ": " .. is.Paused.message }
end
if is.Reconciling then
  return { status = "Progressing", message = is.Reconciling.message }
end
if is.Ready then
  return { status = "Healthy", message = is.Ready.message }
end
if is.NotReady then
  return { status = "Progressing", message = is.NotReady.message }
end
return { status = "Progressing", message = "The operator has said nothing of it yet" }
