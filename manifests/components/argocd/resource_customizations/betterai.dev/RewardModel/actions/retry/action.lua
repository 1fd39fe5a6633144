local os = require("os")
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["betterai.dev/command"] = "retry/" .. os.time()
return obj
